"""WHICH network: the ladder of base models, how they are found, built and saved."""
