"""The decision: front, policies, winner. Pure; no Ray, no files. A user's own policy is ``package.module:name``."""

POLICIES = {
    "cheapest_within": "lft_ray.selection.policies:cheapest_within",
    "best_f1": "lft_ray.selection.policies:best_f1",
}
