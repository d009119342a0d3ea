"""Trials that run on several workers, in Ray Train worker groups."""
