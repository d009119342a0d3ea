"""The select stage: from trial records to the winner, with the Pareto front, finalists, bounds and the verdict.

The decision itself is pure (no Ray, no files); `stage`, `predictions` and `held_out` read files. A user's own policy is
``package.module:name``.
"""

POLICIES = {
    "cheapest_within": "lft_ray.selection.policies:cheapest_within",
    "best_f1": "lft_ray.selection.policies:best_f1",
}
