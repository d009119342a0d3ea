"""Cost model: measured usage and profiles in, dollars out. Never measures, never calls Ray."""
