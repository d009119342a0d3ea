"""`lft plan`: what a search would cost and offer, before anything is spent."""
