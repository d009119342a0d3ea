"""Reports for people: the HTML report, the live table of a search, the Pareto front as text."""
