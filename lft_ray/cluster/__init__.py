"""Ray clusters: start or connect to one, its nodes, and the environment of its workers."""
