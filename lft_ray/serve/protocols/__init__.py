"""One adapter for each wire protocol, all on lft_ray.wire."""
