"""Replay of searches over recorded learning curves: the table, the simulated clock, the methods, the score."""
