"""Allocate repeat runs with new random seeds to finalists. In: cost per run, remaining limits. Out: ordered runs. Pure.

The minutes and dollars left over by the search set the number of runs; without either limit, a run count does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import SearchSpec, SelectionSpec
from lft_ray.cost.dollars import training_usd
from lft_ray.records import TrialConfig
from lft_ray.search.budget.admission import WALL_MARGIN, BudgetAdmission
from lft_ray.selection.finalists import MAX_FINALISTS

__all__ = ["Remaining", "RunCost", "fresh_seeds", "max_runs", "max_seeds", "rounds", "run_cost"]

FEW_ROWS = 1_000
"""Below this many validation rows a finalist gets up to 5 seeds: the fewer the rows, the noisier a single run."""
MIN_SEEDS = 2
"""One seed gives no estimate of the variance between seeds, and without it no loss can be bounded."""
MAX_CONFIRMED = MAX_FINALISTS + 1
"""All finalists that selection can name, plus the default configuration."""
EXTRA_FINALISTS = 2
"""Points of a size that is among the finalists already: the default configuration, and another one of an octave."""
MIN_FINALISTS = 2
"""The best finalist and one more: the F1 loss of the second is measured against the best."""


@dataclass(frozen=True, slots=True)
class RunCost:
    """Predicted and worst-case cost of one run of a finalist, in dollars and wall seconds."""

    usd: float
    worst_usd: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Remaining:
    """Remaining limits for confirmation runs; None: no limit.

    Attributes:
        usd: dollars left, with running trials counted at their worst case.
        wall_s: wall seconds left before the decision.
        runs: maximum number of confirmation runs of the whole study, finished ones included.
        slots: number of runs in parallel.
    """

    usd: float | None = None
    wall_s: float | None = None
    runs: int | None = None
    slots: int = 1


def max_seeds(validation_rows: int, requested: int | None = None) -> int:
    """Maximum fresh seeds per finalist: the requested number, else 3, or 5 below 1,000 validation rows."""
    if requested is not None:
        return requested
    return 5 if validation_rows < FEW_ROWS else 3


def max_runs(selection: SelectionSpec, search: SearchSpec, validation_rows: int, *, sizes: int = MAX_FINALISTS) -> int:
    """Maximum number of confirmation runs of a study, before its minutes and dollars are applied.

    Args:
        selection: fraction and seeds of the confirmation runs.
        search: trials, minutes and dollars.
        validation_rows: number of validation rows.
        sizes: number of networks that may be trained: each can be a finalist, linear models need no runs.
    """
    if selection.confirmation_fraction == 0 or sizes == 0:
        return 0
    upper = min(MAX_CONFIRMED, sizes + EXTRA_FINALISTS) * max_seeds(validation_rows, selection.confirmation_seeds)
    if search.minutes is not None or search.budget_usd is not None:
        return upper
    return min(upper, max(MIN_FINALISTS, round(selection.confirmation_fraction * search.trials)))


def run_cost(admission: BudgetAdmission, config: TrialConfig) -> RunCost:
    """Forecast cost of one run of ``config``."""
    work, device = admission.work(config), admission.device(config)
    expected = admission.forecast.predict(work, device=device)
    return RunCost(
        usd=training_usd(expected, admission.price),
        worst_usd=admission.worst_usd(config),
        wall_s=WALL_MARGIN * expected.wall_s,
    )


def fresh_seeds(costs: Sequence[RunCost], done: Sequence[int], left: Remaining, limit: int) -> list[int]:
    """Number of fresh seeds per finalist, equal for all finalists that get any, so that comparisons are balanced.

    Finalists are dropped from the end of the list until two seeds of each remaining one fit the limits (one seed, if
    two finalists with two seeds each do not fit); then seeds are added while they fit. The first two finalists always
    get at least one: whether a run may start is decided by admission.

    Args:
        costs: cost of one run of each finalist, best finalist first; the last is dropped first.
        done: number of confirmation runs that each finalist already has.
        left: remaining limits.
        limit: maximum seeds per finalist.
    """
    if not costs:
        return []
    count, seeds = min(MIN_FINALISTS, len(costs)), 1
    for min_seeds in (MIN_SEEDS, 1):
        fitting = [m for m in range(len(costs), count - 1, -1) if _fits(costs[:m], done, min_seeds, left)]
        if fitting and min_seeds <= limit:
            count, seeds = fitting[0], min_seeds
            break
    while seeds < limit and _fits(costs[:count], done, seeds + 1, left):
        seeds += 1
    return [seeds] * count + [0] * (len(costs) - count)


def rounds(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """(finalist index, seed number from 1) in execution order: the first seed of all, then the second of all, ..."""
    return [(i, seed) for seed in range(1, max(seeds, default=0) + 1) for i, count in enumerate(seeds) if seed <= count]


def _fits(costs: Sequence[RunCost], done: Sequence[int], seeds: int, left: Remaining) -> bool:
    todo = [(max(0, seeds - ran), cost) for ran, cost in zip(done, costs, strict=False)]
    if left.runs is not None and seeds * len(costs) > left.runs:
        return False
    running = [cost for count, cost in todo if count]
    if not running:
        return True
    usd = sum(count * cost.usd for count, cost in todo)
    # Admission reserves worst cases, so the last runs to start (one per slot) must still fit at their worst case.
    spare = left.slots * max(cost.worst_usd - cost.usd for cost in running)
    if left.usd is not None and usd + spare > left.usd:
        return False
    wall_s = max(sum(count * cost.wall_s for count, cost in todo) / left.slots, max(cost.wall_s for cost in running))
    return left.wall_s is None or wall_s <= left.wall_s
