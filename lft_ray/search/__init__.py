"""MANY trials: the space, the proposer (Optuna), the searcher and scheduler (Ray Tune), the study.

The scheduler's table is `lft_ray.spec.SCHEDULERS`.
"""

SAMPLERS: dict[str, str] = {
    "gp": "lft_ray.search.samplers:gp",
    "tpe": "lft_ray.search.samplers:tpe",
    "random": "lft_ray.search.samplers:uniform",
    "known_cost": "lft_ray.search.samplers:known_cost",
}
"""Name -> callable ``(seed, startup_trials) -> optuna.samplers.BaseSampler``; see `lft_ray.search.samplers`."""
