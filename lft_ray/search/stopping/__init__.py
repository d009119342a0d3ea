"""Early-stopping rules: decide whether a running trial is stopped before the end of its schedule."""
