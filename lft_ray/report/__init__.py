"""What people look at: the one-file HTML report, the live table of a search, the front as text."""
