"""From outcomes to the table and the ratios. In: `Outcome` values. Out: plain rows. Pure.

A ratio is the dollars of one method over those of another until the mean regret over seeds first reaches the target:
that of stock Ray after 20 units on that task. Below 1: the first method is cheaper. A method that does not reach the
target within 40 units counts as if it did at 40, which favours it; such tasks are counted. Ratios are geometric means
over tasks. Intervals: 95%, bootstrap over the seeds of each task, the same draw for all methods (methods are paired by
task and seed); they are valid for these tasks, not for tasks in general.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .methods import RAY_DEFAULT
from .score import BUDGETS, GRID, UNITS, Outcome

__all__ = ["Curves", "Ratio", "curves_of", "method_rows", "ratio", "worse_than"]

TARGET_UNITS = 20
REPLICATES = 1000

Curves = dict[str, dict[str, np.ndarray]]
"""task -> method -> regret, shape (seeds, len(GRID))."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Spend of a method over that of another."""

    value: float
    low: float
    high: float
    """Ends of the 95% interval."""
    censored: dict[str, list[str]]
    """Method -> tasks on which its mean never reached the target."""

    def as_row(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ratio": round(self.value, 3),
            "interval_95": [round(self.low, 3), round(self.high, 3)],
            "censored": self.censored,
        }


def curves_of(outcomes: Sequence[Outcome]) -> Curves:
    """Regret by task and method, seeds in rising order.

    Raises:
        ValueError: the methods of a task were not run with the same seeds.
    """
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for one in outcomes:
        found.setdefault(one.task, {}).setdefault(one.method, {})[one.seed] = one.regret
    for task, methods in found.items():
        seeds = {method: tuple(sorted(rows)) for method, rows in methods.items()}
        if len(set(seeds.values())) > 1:
            raise ValueError(f"{task}: methods are compared in pairs, but their seeds differ: {seeds}")
    return {
        task: {method: np.array([rows[s] for s in sorted(rows)]) for method, rows in methods.items()}
        for task, methods in found.items()
    }


def spend(mean: np.ndarray, target: float) -> tuple[float, bool]:
    """(units until a mean curve first reaches the target, whether it does)."""
    reached = np.flatnonzero(mean <= target + 1e-9)
    return (float(GRID[reached[0]]), True) if len(reached) else (float(UNITS), False)


def target_of(mean_of_ray: np.ndarray) -> float:
    """Mean regret of stock Ray at 20 units."""
    return float(mean_of_ray[np.searchsorted(GRID, TARGET_UNITS)])


def ratio(curves: Curves, method: str, against: str = "", *, replicates: int = REPLICATES) -> Ratio:
    """Spend of ``method`` over that of ``against``, with its interval; over all 20 units where none is named."""
    names = [name for name in (method, against) if name]
    censored: dict[str, list[str]] = {name: [] for name in names}
    logs = []
    for task, by_method in curves.items():
        target = target_of(by_method[RAY_DEFAULT].mean(axis=0))
        spends = {}
        for name in names:
            spends[name], is_reached = spend(by_method[name].mean(axis=0), target)
            if not is_reached and task not in censored[name]:
                censored[name].append(task)
        logs.append(np.log(spends[method] / spends.get(against, TARGET_UNITS)))
    rng = np.random.default_rng(0)
    drawn = np.zeros(replicates)
    for by_method in curves.values():
        seeds = len(by_method[method])
        picks = rng.integers(0, seeds, size=(replicates, seeds))
        means = {name: by_method[name][picks].mean(axis=1) for name in {*names, RAY_DEFAULT}}
        for k in range(replicates):
            target = target_of(means[RAY_DEFAULT][k])
            theirs = spend(means[against][k], target)[0] if against else TARGET_UNITS
            drawn[k] += np.log(spend(means[method][k], target)[0] / theirs)
    low, high = np.exp(np.percentile(drawn / len(curves), [2.5, 97.5]))
    return Ratio(float(np.exp(np.mean(logs))), float(low), float(high), {k: v for k, v in censored.items() if v})


def worse_than(curves: Curves, method: str, other: str, *, replicates: int = REPLICATES) -> list[dict[str, Any]]:
    """Where the mean regret of ``method`` is above that of ``other``, with the paired difference and its interval."""
    rows = []
    rng = np.random.default_rng(1)
    for task, by_method in curves.items():
        difference = by_method[method] - by_method[other]
        for units in BUDGETS:
            at = difference[:, np.searchsorted(GRID, units)]
            if at.mean() <= 0:
                continue
            picks = rng.integers(0, len(at), size=(replicates, len(at)))
            low, high = np.percentile(at[picks].mean(axis=1), [2.5, 97.5])
            rows.append(
                {"task": task, "units": units, "by": round(float(at.mean()), 4), "interval_95": [round(float(low), 4),
                 round(float(high), 4)]}
            )  # fmt: skip
    return rows


def method_rows(outcomes: Sequence[Outcome], curves: Curves, *, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """One row a method over the tasks: regret at the budgets, spend, stops, seconds a proposal."""
    rows = []
    methods = list(dict.fromkeys(one.method for one in outcomes))
    for method in methods:
        own = [one for one in outcomes if one.method == method and one.task in tasks]
        regret = {
            f"regret_{units}": float(np.mean([curves[t][method].mean(axis=0)[_at(units)] for t in tasks]))
            for units in BUDGETS
        }
        error = float(
            np.sqrt(sum(np.var(curves[t][method][:, _at(20)], ddof=1) / len(curves[t][method]) for t in tasks))
            / len(tasks)
        ) if all(len(curves[t][method]) > 1 for t in tasks) else float("nan")  # fmt: skip
        spends = [
            spend(curves[t][method].mean(axis=0), target_of(curves[t][RAY_DEFAULT].mean(axis=0))) for t in tasks
        ] if all(RAY_DEFAULT in curves[t] for t in tasks) else []  # fmt: skip
        stops, proposals = sum(one.stops for one in own), sum(one.suggestions for one in own)
        rows.append(
            {
                "method": method,
                **regret,
                "se_20": error,
                "spend_units": float(np.exp(np.mean([np.log(units) for units, _ in spends]))) if spends else None,
                "censored": sum(not is_reached for _, is_reached in spends),
                "trials": float(np.mean([one.trials for one in own])),
                "stops": stops,
                "wrong_stops": sum(one.wrong_stops for one in own),
                "interpolated_share": sum(one.interpolated for one in own) / max(1, sum(one.trials for one in own)),
                "suggestion_s": sum(one.suggestion_s * one.suggestions for one in own) / max(1, proposals),
            }
        )
    return rows


def _at(units: float) -> int:
    return int(np.searchsorted(GRID, units))
