"""Rows to batches: read, check, split, write as Arrow, encode once, cut into batches."""
