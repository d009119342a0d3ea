"""Points, Pareto front, ladder and hypervolume. In: trial records. Out: frozen points. Pure; applies no policy or cap.

Only trials that ran to completion become points: a stopped trial looks cheap only because it is unfinished.
"""

import math
from collections.abc import Iterable, Sequence

from lft_ray.records import FrontPoint, LadderRow, TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order

__all__ = ["dominates", "front", "hypervolume", "ladder", "points_of"]


def points_of(records: Iterable[TrialRecord]) -> list[FrontPoint]:
    """Every priced variant of every finished search trial, by trial id. Confirmation runs are not points themselves."""
    points = [
        FrontPoint(
            trial_id=record.trial_id,
            model_size=record.config.model_size,
            precision=variant.precision,
            max_length=variant.max_length,
            f1=variant.f1,
            usd_per_million_predictions=variant.usd_per_million_predictions,
            p95_ms=variant.p95_ms,
        )
        for record in records
        if record.status is TrialStatus.DONE and record.role == "search"
        for variant in record.variants
        if variant.usd_per_million_predictions is not None
    ]
    return sorted(points, key=_identity)


def dominates(point: FrontPoint, other: FrontPoint) -> bool:
    """Whether ``point`` Pareto-dominates ``other`` in cost and F1. Of equal points the earlier trial id dominates."""
    ours = (point.usd_per_million_predictions, -point.f1)
    theirs = (other.usd_per_million_predictions, -other.f1)
    if ours == theirs:
        return _identity(point) < _identity(other)
    return ours[0] <= theirs[0] and ours[1] <= theirs[1]


def front(points: Iterable[FrontPoint]) -> list[FrontPoint]:
    """The Pareto-optimal points, cheapest first. Of equal points the one with the lower trial id is included."""
    ordered = sorted(points, key=lambda p: (p.usd_per_million_predictions, -p.f1, _identity(p)))
    optimal: list[FrontPoint] = []
    # Cheapest first, so a point is dominated unless its F1 exceeds that of every cheaper one.
    for point in ordered:
        if not optimal or point.f1 > optimal[-1].f1:
            optimal.append(point)
    return optimal


def ladder(points: Sequence[FrontPoint]) -> list[LadderRow]:
    """Best point of each model size, cheapest first: Pareto-optimal (``on_front``), or the point that dominates it."""
    best: dict[str, FrontPoint] = {}
    for point in points:
        best_so_far = best.get(point.model_size)
        if best_so_far is None or _quality(point) < _quality(best_so_far):
            best[point.model_size] = point
    on_front = front(points)
    rows = []
    for point in sorted(best.values(), key=lambda p: (p.usd_per_million_predictions, _identity(p))):
        # Several points may dominate it; name the best of them, the one a reader would choose instead.
        dominating = sorted((p for p in on_front if dominates(p, point)), key=_quality)
        by = f"{dominating[0].trial_id} ({dominating[0].model_size})" if dominating else ""
        rows.append(LadderRow(**point.model_dump(), on_front=not dominating, dominated_by=by))
    return rows


def hypervolume(
    points: Iterable[FrontPoint], *, usd_bounds: tuple[float, float], f1_bounds: tuple[float, float]
) -> float:
    """Share of the box (log dollars x F1) that the Pareto front dominates, 0 to 1.

    Args:
        points: any points; dominated ones add nothing, those outside the box are clipped to it.
        usd_bounds: lowest and highest cost of the box in dollars per million predictions, above 0.
        f1_bounds: lowest and highest F1 of the box.

    Raises:
        ValueError: a bound pair is empty or reversed.
    """
    low_usd, high_usd = usd_bounds
    low_f1, high_f1 = f1_bounds
    if not 0.0 < low_usd < high_usd or not low_f1 < high_f1:
        raise ValueError(f"empty box: usd_bounds {usd_bounds}, f1_bounds {f1_bounds}")
    width = math.log(high_usd / low_usd)
    area, reached = 0.0, 0.0
    for point in front(points):
        usd = max(low_usd, point.usd_per_million_predictions)
        if usd >= high_usd:
            break
        height = min(1.0, max(0.0, (point.f1 - low_f1) / (high_f1 - low_f1)))
        # Cheapest first: each point adds the strip above what cheaper points already reach.
        area += max(0.0, height - reached) * math.log(high_usd / usd) / width
        reached = max(reached, height)
    return area


def _identity(point: FrontPoint) -> tuple[tuple[str, int], str, int]:
    return (trial_order(point.trial_id), point.precision, point.max_length)


def _quality(point: FrontPoint) -> tuple[float, float, tuple[tuple[str, int], str, int]]:
    return (-point.f1, point.usd_per_million_predictions, _identity(point))
