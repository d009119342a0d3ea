"""Recording of real learning curves: which tasks, which runs, and how a run becomes rows of a table."""
