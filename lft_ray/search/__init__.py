"""The hyperparameter search: search space, proposer (Optuna), searcher and scheduler (Ray Tune), study.

The built-in samplers are listed here, the early-stopping rules in `lft_ray.config.base.SCHEDULERS`.
"""

SAMPLERS: dict[str, str] = {
    "gp": "lft_ray.search.samplers.builtin:gp",
    "tpe": "lft_ray.search.samplers.builtin:tpe",
    "random": "lft_ray.search.samplers.builtin:uniform",
    "known_cost": "lft_ray.search.samplers.builtin:known_cost",
}
"""Name -> callable ``(seed, startup_trials) -> optuna.samplers.BaseSampler``; see `lft_ray.search.samplers.builtin`."""
