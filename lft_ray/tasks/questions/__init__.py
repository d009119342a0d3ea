"""Questions about a context, answered by a piece of it."""
