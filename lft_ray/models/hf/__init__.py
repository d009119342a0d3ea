"""Other architectures, run by transformers."""
