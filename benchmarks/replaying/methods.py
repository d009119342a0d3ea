"""Methods by name: what is compared, and how each is made fresh for one replay."""

import inspect
from collections.abc import Callable
from typing import Any

from lft_ray.plugins import resolve
from lft_ray.search import SAMPLERS

from .clock import Method
from .product import Product
from .start import Given
from .stock_ray import StockRay
from .syne import SyneMoAsha, find_python
from .top_k import OneEpochTopK

__all__ = ["BASELINES", "EXPENSIVE", "OURS", "RAY_DEFAULT", "is_available", "make"]

RAY_DEFAULT = "ray_optuna_asha"
BASELINES: dict[str, str] = {
    "random": "recorded configurations without replacement",
    "one_epoch_top_k": "one epoch for all, the best of each size goes on to the long schedule",
    RAY_DEFAULT: "Ray Tune's OptunaSearch (two objectives, default sampler) + ASHAScheduler on F1",
    "tpe": "Optuna's multivariate multi-objective TPE",
    "gp": "Optuna's GPSampler",
    "syne_mo_asha": "Syne Tune's MOASHA",
}
"""What people use today."""
OURS = ("known_cost", "known_cost+dominance", "known_cost+mo_asha")
"""``sampler+rule`` of the product; any of its samplers and stop rules can be put together so."""
EXPENSIVE = ("gp",)
"""A second or so a proposal: ``--quick`` takes their curves from the committed full run."""

RULES = ("dominance", "mo_asha", "never")


def make(name: str, given: Given, *, seed: int, workers: int) -> Method:
    """Make a method.

    Args:
        name: a key of `BASELINES`, or ``sampler`` or ``sampler+rule`` of the product.
        given: space, start table and costs.
        seed: of the search.
        workers: trials at a time.

    Raises:
        ConfigError: no sampler of that name.
        ValueError: no rule of that name.
    """
    if name == RAY_DEFAULT:
        return StockRay(given, seed=seed)
    if name == "one_epoch_top_k":
        return OneEpochTopK(given, seed=seed)
    if name == "syne_mo_asha":
        return SyneMoAsha(given, seed=seed)
    sampler, _, rule = name.partition("+")
    return Product(
        given, sampler, seed=seed, rule=_rule(rule, seed) if rule else None, workers=workers, on_grid=name == "random"
    )


def is_available(name: str) -> str:
    """Why a method can't run here; empty: it can."""
    if name == "syne_mo_asha":
        return "" if find_python() else "no Python with syne-tune is named by SYNE_TUNE_PYTHON"
    if name in BASELINES:
        return ""
    sampler, _, rule = name.partition("+")
    if sampler not in SAMPLERS and ":" not in sampler:
        return f"the product has no sampler {sampler!r}"
    if rule and rule not in RULES:
        return f"the product has no stop rule {rule!r}"
    return ""


def _rule(name: str, seed: int) -> Callable[[Any], str]:
    factory = resolve(name, {rule: f"lft_ray.search.stopping:{rule}" for rule in RULES}, where="rule")
    parameters = inspect.signature(factory).parameters
    return factory(seed=seed) if "seed" in parameters else factory(seed)
