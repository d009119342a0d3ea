"""`lft plan`: estimate the cost and the candidates of a search before anything is spent."""
