"""The deep check of labels: out-of-fold probabilities of a linear probe, suspects, near-duplicates, their file."""
