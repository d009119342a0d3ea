"""Models: the ladder of base models, and how they are found, built, saved and loaded."""
