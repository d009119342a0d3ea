"""Servers that serving.py measures beside ours, each started as a program of its own: FOLDER PORT."""
