"""The bundle: an immutable, verified folder, with its parity check and model card."""
