"""The compared methods by name, and how to create each for one replay."""

import json
from collections.abc import Callable
from typing import Any

from lft_ray.errors import ConfigError, InputError
from lft_ray.plugins import resolve
from lft_ray.records import CurvePoint, TrialRecord, TrialStatus
from lft_ray.search import SAMPLERS
from lft_ray.search.stopping.asha import mo_asha
from lft_ray.search.stopping.base import FullCurve, StopRule, never
from lft_ray.search.stopping.dominance import dominance

from .clock import Method
from .product import Product
from .start import Given
from .stock_ray import StockRay
from .syne import SyneMoAsha, find_python
from .table import Table
from .top_k import OneEpochTopK

__all__ = ["BASELINES", "EXPENSIVE", "OURS", "RAY_DEFAULT", "is_available", "make", "needs_library"]

RAY_DEFAULT = "ray_optuna_asha"
BASELINES: dict[str, str] = {
    "random": "recorded configurations without replacement",
    "one_epoch_top_k": "one epoch for all, the best of each size goes on to the long schedule",
    RAY_DEFAULT: "Ray Tune's OptunaSearch (two objectives, default sampler) + ASHAScheduler on F1",
    "tpe": "Optuna's multivariate multi-objective TPE",
    "gp": "Optuna's GPSampler",
    "syne_mo_asha": "Syne Tune's MOASHA",
}
"""Methods in common use."""
OURS = ("known_cost", "known_cost+dominance", "known_cost+mo_asha")
"""``sampler[@option=value ...][+rule]`` of lft_ray: sampler, options and early-stopping rule can be combined."""
EXPENSIVE = ("gp",)
"""About a second per proposal: ``--quick`` takes their curves from the committed full run."""
RULES: dict[str, Callable[[int], StopRule]] = {"never": never, "dominance": dominance, "mo_asha": mo_asha}
LIBRARY = "dominance_library"
"""Name of the dominance rule with the curves of the tuning task as its library."""


def make(name: str, given: Given, *, seed: int, workers: int, library: Table | None = None) -> Method:
    """Make a method.

    Args:
        name: a key of `BASELINES`, or ``sampler[@option=value ...][+rule]`` of the product.
        given: space, start table and costs.
        seed: of the search.
        workers: trials at a time.
        library: another task, whose curves a rule may learn from.

    Raises:
        InputError: there is no such sampler, option or rule.
    """
    if name == RAY_DEFAULT:
        return StockRay(given, seed=seed)
    if name == "one_epoch_top_k":
        return OneEpochTopK(given, seed=seed)
    if name == "syne_mo_asha":
        return SyneMoAsha(given, seed=seed)
    sampler, options, rule = _parts(name)
    return Product(
        given,
        sampler,
        seed=seed,
        rule=_rule(rule, seed, library) if rule else None,
        workers=workers,
        on_grid=name == "random",
        options=options,
    )


def is_available(name: str) -> str:
    """Why a method can't run here; empty if it can."""
    if name == "syne_mo_asha":
        return "" if find_python() else "no Python with syne-tune is named by SYNE_TUNE_PYTHON"
    if name in BASELINES:
        return ""
    try:
        sampler, _, rule = _parts(name)
        resolve(sampler, SAMPLERS, where="method")
    except ConfigError as problem:
        return problem.message
    return "" if not rule or rule in {*RULES, LIBRARY} else f"the product has no stop rule {rule!r}"


def needs_library(name: str) -> bool:
    """Whether a method learns from another task's curves."""
    return name.endswith(f"+{LIBRARY}")


def _parts(name: str) -> tuple[str, dict[str, Any], str]:
    sampler, _, rule = name.partition("+")
    sampler, *pairs = sampler.split("@")
    options = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            raise ConfigError(f"method {name!r}: expected option=value after @, got {pair!r}") from None
    return sampler, options, rule


def _rule(name: str, seed: int, library: Table | None) -> StopRule:
    if name != LIBRARY:
        return RULES[name](seed)
    if library is None:
        raise InputError("the rule dominance_library needs curves of another task", fix="name one with --tune-on")
    return dominance(seed, library=_full_curves(library))


def _full_curves(table: Table) -> list[FullCurve]:
    """All recorded curves of a task that ran to their end."""
    found = []
    for config in table.grid():
        for seed in table.seeds(config):
            curve = table.curve(config, seed)
            points = [
                CurvePoint(fraction=round(float(at), 6), f1=float(f1), loss=0.0, train_s=0.0)
                for at, f1 in zip(curve.fractions, curve.f1, strict=True)
            ]
            record = TrialRecord(trial_id="t000", attempt=1, config=config, status=TrialStatus.DONE, curve=points)
            if curve.is_done and config.learning_rate and (full := FullCurve.of(record)) is not None:
                found.append(full)
    return found
