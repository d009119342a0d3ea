"""Lifecycle of an endpoint: deploy, promote, roll back, stop; and its supervisor process."""
