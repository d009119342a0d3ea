"""Inference with an opened bundle: a single model or a cascade."""
