"""MANY trials: the space, the proposer (Optuna), the searcher and scheduler (Ray Tune), the study."""

SAMPLERS: dict[str, str] = {
    "gp": "lft_ray.search.samplers:gp",
    "tpe": "lft_ray.search.samplers:tpe",
    "random": "lft_ray.search.samplers:uniform",
    "known_cost": "lft_ray.search.samplers:known_cost",
}
"""Name -> callable ``(seed, startup_trials) -> optuna.samplers.BaseSampler``; see `lft_ray.search.samplers`."""

SCHEDULERS: dict[str, str] = {
    "fifo": "lft_ray.search.stopping:never",
    "dominance": "lft_ray.search.stopping:dominance",
    "mo_asha": "lft_ray.search.stopping:mo_asha",
}
"""Name -> callable ``(seed) -> lft_ray.search.standing.StopRule``, asked at each point of a curve."""
