"""Which trial may still start: its price, its workload, and what is left of dollars and minutes."""
