"""Samplers: propose the next configuration from observed trials."""
