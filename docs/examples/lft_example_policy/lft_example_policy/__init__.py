"""Plug-ins for lft_ray: the selection policy ``knee`` and the task ``Stars``."""
