"""From bounded losses to a choice and to what can be claimed about it. In: judged points. Out: `Verdict`. Pure.

A verdict is about the points that were compared and about no others. "Proven" is said of a winner

- that is not the best point, if the bound of its loss against *every* point compared is within the margin, the best of
  the sample being perhaps not the best in truth;
- that is the best point, if every cheaper point is shown to lose more than the margin (`cheapest_within`) and no point
  can be better by more than the margin;

and only if there was somebody to compare with, each with runs of fresh seeds, and nobody missing whom one seed cannot
rule out (`lft_ray.selection.finalists`). Each of the bounds above has to hold, so each is taken at 95% (an
intersection-union test); of several cheaper points that might win, the levels are Holm's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from lft_ray.config import SelectionSpec
from lft_ray.records import JudgedPoint, VerdictKind
from lft_ray.selection.policies import FLOAT_TOLERANCE, cheapest_within
from lft_ray.selection.significance import CONFIDENCE, Difference, Resampled, holm_levels

__all__ = ["Losses", "Verdict", "no_bounds", "pick", "verdict_of"]

Doubt = Literal["", "no_predictions", "no_fresh_seeds", "one_seed", "noise", "unopposed", "not_compared"]
KINDS: dict[Doubt, VerdictKind] = {
    "": VerdictKind.PROVEN,
    "no_predictions": VerdictKind.UNCONFIRMED,
    "no_fresh_seeds": VerdictKind.UNCONFIRMED,
    "one_seed": VerdictKind.WITHIN_NOISE,
    "noise": VerdictKind.WITHIN_NOISE,
    "unopposed": VerdictKind.UNOPPOSED,
    "not_compared": VerdictKind.INCOMPLETE,
}


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss of each judged point against the best.

    Attributes:
        best: index of the best point.
        differences: one per point; None for the best, and for all points if no loss is bounded.
        levels: one-sided confidence level of each bound: Holm's for points that cost no more than the best, 95% for
            the others.
        covers_seeds: whether the bounds include the variance between seeds.
        rows: number of validation rows compared; 0: no loss is bounded.
        sample: resampled scores of all points; None: no loss is bounded.
    """

    best: int
    differences: tuple[Difference | None, ...]
    levels: tuple[float, ...]
    covers_seeds: bool
    rows: int
    sample: Resampled | None = None

    @classmethod
    def of(cls, sample: Resampled, judged: Sequence[JudgedPoint], best: int, *, margin: float) -> Self:
        """Bound every loss against the point of index ``best``."""
        differences = [sample.difference(i, best) if i != best else None for i in range(len(judged))]
        # Only points that cost no more than the best can win, and of those none that is shown to lose more than the
        # margin: correcting for the others as well would widen all bounds. A baseline far behind decides nothing.
        cap = judged[best].usd_per_million_predictions
        compared = {
            i: d
            for i, d in enumerate(differences)
            if d is not None and judged[i].usd_per_million_predictions <= cap and d.lower() <= margin
        }
        levels = [CONFIDENCE] * len(judged)
        for i, level in zip(compared, holm_levels(list(compared.values()), margin), strict=True):
            levels[i] = level
        return cls(best, tuple(differences), tuple(levels), sample.covers_seeds, sample.rows, sample)

    def upper(self, index: int) -> float | None:
        """Upper bound of the loss, simultaneous over all comparisons at 95%; None if it is not bounded."""
        difference = self.differences[index]
        return None if difference is None else difference.upper(self.levels[index])

    def standing(self, index: int, margin: float) -> Literal["best", "proven", "within_noise", "worse"]:
        """What the bounds say about a point."""
        difference = self.differences[index]
        if index == self.best:
            return "best"
        if difference is None:
            return "within_noise"
        if difference.upper(self.levels[index]) <= margin + FLOAT_TOLERANCE:
            return "proven"
        return "worse" if difference.lower() > margin else "within_noise"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be claimed about the winner.

    Attributes:
        judged: the points with loss, bound and standing.
        doubt: why the choice is within noise; empty: it is proven.
        rows_needed: number of validation rows that would settle it; None: it is settled, or more rows alone would not
            settle it.
        rows: number of validation rows compared.
        seeds: number of confirmation runs of the winner or of the best point, whichever is smaller; 0: neither needs
            any, as with linear models.
    """

    judged: tuple[JudgedPoint, ...]
    doubt: Doubt
    rows_needed: int | None
    rows: int
    seeds: int

    @property
    def is_proven(self) -> bool:
        """Whether the bounds rule out that noise made the choice."""
        return not self.doubt

    @property
    def kind(self) -> VerdictKind:
        """The verdict as it is recorded."""
        return KINDS[self.doubt]


def no_bounds(judged: Sequence[JudgedPoint], best: int) -> Losses:
    """Losses without bounds: only the mean scores are known."""
    return Losses(best, (None,) * len(judged), (CONFIDENCE,) * len(judged), covers_seeds=False, rows=0)


def pick(
    judged: Sequence[JudgedPoint],
    spec: SelectionSpec,
    losses: Losses,
    policy: Callable[[Sequence[JudgedPoint]], object],
) -> int:
    """Index of the winner.

    ``cheapest_within`` takes the cheapest point whose bound is within the margin. If none of these is cheaper than the
    best, it takes the cheapest point whose loss is within the margin or one standard error, whichever is larger. All
    other policies, and this one if no loss is bounded, compare mean scores.
    """
    if spec.policy != "cheapest_within" or not losses.rows:
        chosen = policy(judged)
        return next(i for i, point in enumerate(judged) if point is chosen or point == chosen)
    proven = [i for i in range(len(judged)) if losses.standing(i, spec.margin) == "proven"]
    cheapest = _cheapest(judged, [losses.best, *proven])
    if cheapest != losses.best:
        return cheapest
    near = [
        i
        for i, d in enumerate(losses.differences)
        if d and d.loss <= max(spec.margin, d.standard_error) + FLOAT_TOLERANCE
    ]
    return _cheapest(judged, [losses.best, *near])


def verdict_of(
    judged: Sequence[JudgedPoint],
    won: int,
    spec: SelectionSpec,
    losses: Losses,
    *,
    is_opposed: bool = True,
    is_complete: bool = True,
) -> Verdict:
    """What can be claimed about the winner, the point of index ``won``; see the module.

    Without confirmation runs nothing is proven: the best of many search scores is optimistic, and one run says nothing
    about other seeds.

    Args:
        judged: the points that were compared.
        won: index of the winner.
        spec: margin and policy.
        losses: bounded losses of the points.
        is_opposed: whether there was anything to compare the winner with.
        is_complete: whether every finalist that one seed cannot rule out was compared.
    """
    best = judged[losses.best]
    with_losses = tuple(
        point.replace(
            loss=max(0.0, best.f1 - point.f1),
            loss_upper=losses.upper(i),
            standing=losses.standing(i, spec.margin),
        )
        for i, point in enumerate(judged)
    )
    runs = [len(point.fresh_f1) for point in (judged[won], best) if not point.is_seedless]
    verdict = Verdict(with_losses, "", None, losses.rows, min(runs, default=0))
    if not is_opposed and is_complete:
        return replace(verdict, doubt="unopposed")
    if not _has_fresh_seeds(judged, won):
        return replace(verdict, doubt="no_fresh_seeds")
    if not losses.rows:
        return replace(verdict, doubt="no_predictions")
    if not is_complete and len(judged) == 1:
        return replace(verdict, doubt="not_compared")
    if not losses.covers_seeds:
        return replace(verdict, doubt="one_seed")
    unsettled = _unsettled(judged, won, spec, losses)
    if not unsettled:
        return verdict if is_complete else replace(verdict, doubt="not_compared")
    needed = [rows for rows in unsettled if rows is not None]
    return replace(verdict, doubt="noise", rows_needed=max(needed) if len(needed) == len(unsettled) else None)


def _has_fresh_seeds(judged: Sequence[JudgedPoint], won: int) -> bool:
    """Whether the winner, and somebody it is compared with, was trained again or does not depend on the seed."""
    if all(point.is_seedless for point in judged):
        return True
    return any(point.fresh_f1 for point in judged) and bool(judged[won].fresh_f1 or judged[won].is_seedless)


def _unsettled(judged: Sequence[JudgedPoint], won: int, spec: SelectionSpec, losses: Losses) -> list[int | None]:
    """For each comparison that leaves the winner in doubt, the rows that would settle it (None: rows cannot)."""
    margin = spec.margin
    if won != losses.best:
        # Not against the best alone: which one that is, is itself an estimate.
        against = [losses.sample.difference(won, i) for i in range(len(judged)) if i != won] if losses.sample else []
        level = losses.levels[won]
        return [d.rows_needed(margin, level) for d in against if d.upper(level) > margin + FLOAT_TOLERANCE]
    prefers_cheaper = spec.policy == "cheapest_within"
    unsettled: list[int | None] = []
    for i, difference in enumerate(losses.differences):
        if difference is None:
            continue
        would_win = judged[i].usd_per_million_predictions < judged[won].usd_per_million_predictions and prefers_cheaper
        if would_win and losses.standing(i, spec.margin) != "worse":
            unsettled.append(difference.rows_needed(margin))
        elif not would_win and difference.lower() < -margin:
            unsettled.append(difference.rows_needed(-margin))
    return unsettled


def _cheapest(judged: Sequence[JudgedPoint], indices: Sequence[int]) -> int:
    chosen = cheapest_within([judged[i] for i in indices], margin=1.0)  # a margin of 1 admits every F1
    return next(i for i in indices if judged[i] is chosen)
