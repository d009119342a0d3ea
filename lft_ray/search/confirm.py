"""How many fresh seeds which finalist gets. In: finalists, what a run costs, what is left. Out: runs in order. Pure.

Minutes and dollars that the search left for it decide; without either, a number of runs does.
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
"""Validation rows under which seeds are worth 5 runs: the fewer the rows, the less a single run says."""
MIN_SEEDS = 2
"""One seed says nothing of how far seeds differ, and then no loss can be bounded."""
MOST_CONFIRMED = MAX_FINALISTS + 1
"""Those that selection names at most, and the default configuration."""
MIN_FINALISTS = 2
"""The best and one more: a loss is measured against the best."""


@dataclass(frozen=True, slots=True)
class RunCost:
    """What one run of a finalist is expected to take, and at worst."""

    usd: float
    worst_usd: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Remaining:
    """What fresh runs may use; None: no limit.

    Attributes:
        usd: dollars, worst cases counted.
        wall_s: seconds to the decision.
        runs: fresh runs of the whole study, those that ran already included.
        slots: runs at a time.
    """

    usd: float | None = None
    wall_s: float | None = None
    runs: int | None = None
    slots: int = 1


def max_seeds(validation_rows: int, wished: int | None = None) -> int:
    """Fresh seeds that a finalist gets at most: what is wished, else 3, and 5 under 1,000 validation rows."""
    if wished is not None:
        return wished
    return 5 if validation_rows < FEW_ROWS else 3


def max_runs(selection: SelectionSpec, search: SearchSpec, validation_rows: int) -> int:
    """Fresh runs of a study at most, whatever its minutes and dollars allow."""
    if selection.confirmation_fraction == 0:
        return 0
    most = MOST_CONFIRMED * max_seeds(validation_rows, selection.confirmation_seeds)
    if search.minutes is not None or search.budget_usd is not None:
        return most
    return min(most, max(MIN_FINALISTS, round(selection.confirmation_fraction * search.trials)))


def run_cost(admission: BudgetAdmission, config: TrialConfig) -> RunCost:
    """What the forecast says of a run of ``config``."""
    work, device = admission.work(config), admission.device(config)
    expected = admission.forecast.predict(work, device=device)
    return RunCost(
        usd=training_usd(expected, admission.price),
        worst_usd=admission.worst_usd(config),
        wall_s=WALL_MARGIN * expected.wall_s,
    )


def fresh_seeds(costs: Sequence[RunCost], done: Sequence[int], left: Remaining, most: int) -> list[int]:
    """Fresh seeds for each finalist, equal for all that get any, so that comparisons are balanced.

    Finalists are cut from the end of the list until two seeds of each fit (one, where not even two finalists fit with
    two); then as many seeds as fit. The first two always get one: admission has the last word on what may start.

    Args:
        costs: of one run of each finalist, the last to be cut first.
        done: fresh runs that each has already.
        left: the limits.
        most: seeds at most.
    """
    if not costs:
        return []
    kept, seeds = min(MIN_FINALISTS, len(costs)), 1
    for least in (MIN_SEEDS, 1):
        fitting = [m for m in range(len(costs), kept - 1, -1) if _fits(costs[:m], done, least, left)]
        if fitting and least <= most:
            kept, seeds = fitting[0], least
            break
    while seeds < most and _fits(costs[:kept], done, seeds + 1, left):
        seeds += 1
    return [seeds] * kept + [0] * (len(costs) - kept)


def rounds(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """(finalist, seed from 1) in the order to run: the first seed of all, then the second of all, and so on."""
    return [(i, seed) for seed in range(1, max(seeds, default=0) + 1) for i, most in enumerate(seeds) if seed <= most]


def _fits(costs: Sequence[RunCost], done: Sequence[int], seeds: int, left: Remaining) -> bool:
    todo = [(max(0, seeds - ran), cost) for ran, cost in zip(done, costs, strict=False)]
    if left.runs is not None and seeds * len(costs) > left.runs:
        return False
    running = [cost for count, cost in todo if count]
    if not running:
        return True
    usd = sum(count * cost.usd for count, cost in todo)
    # The last to start, as many as run at a time, must be admitted at their worst.
    spare = left.slots * max(cost.worst_usd - cost.usd for cost in running)
    if left.usd is not None and usd + spare > left.usd:
        return False
    wall_s = max(sum(count * cost.wall_s for count, cost in todo) / left.slots, max(cost.wall_s for cost in running))
    return left.wall_s is None or wall_s <= left.wall_s
