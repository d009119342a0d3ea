"""Score a replay: hypervolume regret against dollars, and wrong stops. In: `History`. Out: `Outcome`.

The front is the observed one; each model on it is scored with the mean final F1 of the seeds that the search did not
see, which is what a user gets after shipping it. Fronts and areas are computed by lft_ray's own functions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lft_ray.records import FrontPoint, TrialConfig
from lft_ray.selection.front import front, hypervolume

from .clock import Ended, History
from .table import Table

__all__ = ["BUDGETS", "GRID", "UNITS", "Outcome", "Scale", "is_wrong_stop", "outcome"]

UNITS = 40
"""Spend of a replay, in units of a mean full random trial."""
GRID = np.round(np.arange(0.25, UNITS + 0.001, 0.25), 2)
"""Spend at which regret is recorded, in the same units."""
BUDGETS = (5, 10, 20, 40)
BELOW_DEFAULT = 0.10
"""F1 of the reference point below that of the cheapest default."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Reference point and best area of one task, fixed before any replay."""

    table: Table
    usd_bounds: tuple[float, float]
    f1_bounds: tuple[float, float]
    best: float
    """Area of the front of all recorded configurations by their seed means."""
    unit_usd: float

    @classmethod
    def of(cls, table: Table, defaults: Sequence[TrialConfig], *, reference_cost: float = 1.0) -> "Scale":
        """The scale of a table.

        Args:
            table: recorded.
            defaults: the start table, in any order.
            reference_cost: cost of the reference point, as a multiple of the most expensive size's. At 1 that size
                adds no area.
        """
        costs = table.usd_per_million
        cheapest = min(defaults, key=lambda config: costs[config.model_size])
        usd_bounds = (min(costs.values()), reference_cost * max(costs.values()))
        f1_bounds = (table.final_f1(cheapest) - BELOW_DEFAULT, 1.0)
        points = [_point(table, f"t{i:03d}", c, table.final_f1(c)) for i, c in enumerate(table.grid())]
        best = hypervolume(points, usd_bounds=usd_bounds, f1_bounds=f1_bounds)
        return cls(table, usd_bounds, f1_bounds, best, table.mean_trial_usd())

    def regret(self, seen: Sequence[Ended]) -> float:
        """1 - HV / HV* of the models on the observed front; 1 before the first model."""
        observed = [_point(self.table, end.trial_id, end.config, end.f1) for end in seen if end.is_done]
        by_id = {end.trial_id: end for end in seen}
        shipped = []
        for point in front(observed):
            end = by_id[point.trial_id]
            true_f1 = self.table.final_f1(end.config, without=end.seed)
            shipped.append(point.model_copy(update={"f1": true_f1}))
        return 1.0 - hypervolume(shipped, usd_bounds=self.usd_bounds, f1_bounds=self.f1_bounds) / self.best


@dataclass(frozen=True, slots=True)
class Outcome:
    """One replay in numbers; JSON in, JSON out."""

    task: str
    method: str
    seed: int
    regret: list[float]
    """At `GRID`."""
    trials: int
    stops: int
    wrong_stops: int
    interpolated: int
    """Trials at a learning rate between recorded ones."""
    suggestions: int
    suggestion_s: float
    """Mean processor seconds of a proposal; 0 where none was made."""

    def as_row(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def outcome(scale: Scale, history: History, *, method: str, seed: int) -> Outcome:
    """Score a replay."""
    ended = history.ended
    spent = np.array([end.spent_usd for end in ended]) / scale.unit_usd
    regrets = [1.0] + [scale.regret(ended[: k + 1]) if end.is_done else np.nan for k, end in enumerate(ended)]
    for k in range(1, len(regrets)):
        # A trial without a model does not change the front.
        regrets[k] = regrets[k - 1] if np.isnan(regrets[k]) else regrets[k]
    at_grid = np.array(regrets)[np.searchsorted(spent, GRID + 1e-9, side="right")]
    stopped = [k for k, end in enumerate(ended) if end.reason]
    seconds = history.suggestion_s
    return Outcome(
        task=scale.table.task,
        method=method,
        seed=seed,
        regret=[round(float(r), 4) for r in at_grid],
        trials=len(ended),
        stops=len(stopped),
        wrong_stops=sum(is_wrong_stop(scale.table, ended[k], ended[:k]) for k in stopped),
        interpolated=sum(end.interpolated for end in ended),
        suggestions=len(seconds),
        suggestion_s=round(float(np.mean(seconds)), 5) if seconds else 0.0,
    )


def is_wrong_stop(table: Table, stopped: Ended, before: Sequence[Ended]) -> bool:
    """Whether the stopped trial's own final score would have been on the front at that time."""
    cost = table.usd_per_million
    rivals = [e.f1 for e in before if e.is_done and cost[e.config.model_size] <= cost[stopped.config.model_size]]
    return stopped.full_f1 > max(rivals, default=-1.0)


def _point(table: Table, trial_id: str, config: TrialConfig, f1: float) -> FrontPoint:
    return FrontPoint(
        trial_id=trial_id,
        model_size=config.model_size,
        precision="fp32",
        max_length=config.max_length,
        f1=f1,
        usd_per_million_predictions=table.usd_per_million[config.model_size],
    )
