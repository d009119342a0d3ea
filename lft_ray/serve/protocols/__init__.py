"""One adapter per wire protocol, all over the types of lft_ray.wire."""
