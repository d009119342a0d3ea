"""Ray clusters: connect to one or start one, its nodes, the environment of its workers."""
