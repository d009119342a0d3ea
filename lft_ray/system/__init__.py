"""The machine around a command: paths, text for a terminal, limits, HTTP, temporary folders and signals."""
