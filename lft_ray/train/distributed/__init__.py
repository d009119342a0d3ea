"""Trials shared by several workers: Ray Train worker groups."""
