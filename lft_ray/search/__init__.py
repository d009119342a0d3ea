"""MANY trials: the space, the proposer (Optuna), the searcher and scheduler (Ray Tune), the study.

The scheduler's table is `lft_ray.config.base.SCHEDULERS`.
"""

SAMPLERS: dict[str, str] = {
    "gp": "lft_ray.search.samplers.builtin:gp",
    "tpe": "lft_ray.search.samplers.builtin:tpe",
    "random": "lft_ray.search.samplers.builtin:uniform",
    "known_cost": "lft_ray.search.samplers.builtin:known_cost",
}
"""Name -> callable ``(seed, startup_trials) -> optuna.samplers.BaseSampler``; see `lft_ray.search.samplers.builtin`."""
