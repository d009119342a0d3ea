"""From bounded losses to a choice, and what may be claimed of it. In: judged points. Out: `Verdict`. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from lft_ray.config import SelectionSpec
from lft_ray.records import JudgedPoint
from lft_ray.selection.policies import ROUNDING, cheapest_within
from lft_ray.selection.significance import CONFIDENCE, Difference, Resampled, holm_levels

__all__ = ["Losses", "Verdict", "no_bounds", "pick", "verdict_of"]

Doubt = Literal["", "no_answers", "no_fresh_seeds", "one_seed", "noise"]


@dataclass(frozen=True, slots=True)
class Losses:
    """What each judged point gives up against the best.

    Attributes:
        best: index of the best.
        differences: one a point; None for the best, and for all where nothing is bounded.
        levels: the one-sided level of each bound: Holm's for those no dearer than the best, 95% for the others.
        knows_seeds: whether the bounds hold what another seed may change.
        rows: validation rows compared; 0: nothing is bounded.
    """

    best: int
    differences: tuple[Difference | None, ...]
    levels: tuple[float, ...]
    knows_seeds: bool
    rows: int

    @classmethod
    def of(cls, sample: Resampled, judged: Sequence[JudgedPoint], best: int, *, margin: float) -> Self:
        """Bound every loss against the point of index ``best``."""
        differences = [sample.difference(i, best) if i != best else None for i in range(len(judged))]
        cap = judged[best].usd_per_million_predictions
        compared = {
            i: d for i, d in enumerate(differences) if d is not None and judged[i].usd_per_million_predictions <= cap
        }
        levels = [CONFIDENCE] * len(judged)
        for i, level in zip(compared, holm_levels(list(compared.values()), margin), strict=True):
            levels[i] = level
        return cls(best, tuple(differences), tuple(levels), sample.knows_seeds, sample.rows)

    def upper(self, index: int) -> float | None:
        """The loss is below this, all comparisons together at 95%; None where it is not bounded."""
        difference = self.differences[index]
        return None if difference is None else difference.upper(self.levels[index])

    def standing(self, index: int, margin: float) -> Literal["best", "proven", "within_noise", "worse"]:
        """What is known of a point."""
        difference = self.differences[index]
        if index == self.best:
            return "best"
        if difference is None:
            return "within_noise"
        if difference.upper(self.levels[index]) <= margin + ROUNDING:
            return "proven"
        return "worse" if difference.lower() > margin else "within_noise"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be claimed of the winner.

    Attributes:
        judged: the points with loss, bound and standing.
        doubt: why it is within noise; empty: it is proven.
        rows_needed: validation rows that would settle it; None: settled, or rows alone would not do it.
        rows: validation rows compared.
        seeds: fewest fresh seeds of the winner and the best.
    """

    judged: tuple[JudgedPoint, ...]
    doubt: Doubt
    rows_needed: int | None
    rows: int
    seeds: int

    @property
    def is_proven(self) -> bool:
        """Whether noise can not have made the choice."""
        return not self.doubt


def no_bounds(judged: Sequence[JudgedPoint], best: int) -> Losses:
    """Losses of which only the means are known."""
    return Losses(best, (None,) * len(judged), (CONFIDENCE,) * len(judged), knows_seeds=False, rows=0)


def pick(
    judged: Sequence[JudgedPoint],
    spec: SelectionSpec,
    losses: Losses,
    policy: Callable[[Sequence[JudgedPoint]], object],
) -> int:
    """Index of the winner.

    ``cheapest_within`` takes the cheapest point whose bound is within the margin; where there is none that is cheaper
    than the best, the cheapest whose loss is within the margin or one standard error. All other policies, and this one
    where nothing is bounded, see the means alone.
    """
    if spec.policy != "cheapest_within" or not losses.rows:
        chosen = policy(judged)
        return next(i for i, point in enumerate(judged) if point is chosen or point == chosen)
    proven = [i for i in range(len(judged)) if losses.standing(i, spec.margin) == "proven"]
    cheapest = _cheapest(judged, [losses.best, *proven])
    if cheapest != losses.best:
        return cheapest
    near = [
        i for i, d in enumerate(losses.differences) if d and d.loss <= max(spec.margin, d.standard_error) + ROUNDING
    ]
    return _cheapest(judged, [losses.best, *near])


def verdict_of(judged: Sequence[JudgedPoint], won: int, spec: SelectionSpec, losses: Losses) -> Verdict:
    """What may be claimed of point ``won``.

    A winner that is not the best is proven by the bound of its loss. A best winner is proven where no other point may
    be better by more than the margin; under ``cheapest_within`` every cheaper one must be shown to lose more than it.
    Without fresh seeds nothing is proven: the best of many search scores is optimistic, and one run says nothing of
    another seed.
    """
    best = judged[losses.best]
    shown = tuple(
        point.replace(
            loss=max(0.0, best.f1 - point.f1),
            loss_upper=losses.upper(i),
            standing=losses.standing(i, spec.margin),
        )
        for i, point in enumerate(judged)
    )
    seeds = min(len(judged[won].fresh_f1), len(best.fresh_f1))
    verdict = Verdict(shown, "", None, losses.rows, seeds)
    if not losses.rows:
        return replace(verdict, doubt="no_answers" if judged[won].fresh_f1 else "no_fresh_seeds")
    if not judged[won].fresh_f1:
        return replace(verdict, doubt="no_fresh_seeds")
    if not losses.knows_seeds:
        return replace(verdict, doubt="one_seed")
    unsettled = _unsettled(judged, won, spec, losses)
    if not unsettled:
        return verdict
    needed = [rows for rows in unsettled if rows is not None]
    return replace(verdict, doubt="noise", rows_needed=max(needed) if len(needed) == len(unsettled) else None)


def _unsettled(judged: Sequence[JudgedPoint], won: int, spec: SelectionSpec, losses: Losses) -> list[int | None]:
    """For each comparison that leaves the winner in doubt, the rows that would settle it."""
    margin = spec.margin
    if won != losses.best:
        difference = losses.differences[won]
        if difference is None or losses.standing(won, margin) == "proven":
            return []
        return [difference.rows_needed(margin, losses.levels[won])]
    wants_cheap = spec.policy == "cheapest_within"
    unsettled: list[int | None] = []
    for i, difference in enumerate(losses.differences):
        if difference is None:
            continue
        would_win = judged[i].usd_per_million_predictions < judged[won].usd_per_million_predictions and wants_cheap
        if would_win and losses.standing(i, spec.margin) != "worse":
            unsettled.append(difference.rows_needed(margin))
        elif not would_win and difference.lower() < -margin:
            unsettled.append(difference.rows_needed(-margin))
    return unsettled


def _cheapest(judged: Sequence[JudgedPoint], indices: Sequence[int]) -> int:
    chosen = cheapest_within([judged[i] for i in indices], margin=1.0)
    return next(i for i in indices if judged[i] is chosen)
