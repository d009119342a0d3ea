"""Points, front, ladder and hypervolume. In: trial records. Out: frozen points. Pure; knows no policy and no cap.

Only trials that ran to their end become points: a stopped trial looks cheap because it is not done.
"""

import math
from collections.abc import Iterable, Sequence

from lft_ray.records import FrontPoint, LadderRow, TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order

__all__ = ["dominates", "front", "hypervolume", "ladder", "points_of"]


def points_of(records: Iterable[TrialRecord]) -> list[FrontPoint]:
    """Every priced variant of every finished search trial, by trial id. Fresh-seed runs are not points of their own."""
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
    """Whether ``point`` is no dearer and no worse than ``other``, and better in one; equal points: the earlier id."""
    ours = (point.usd_per_million_predictions, -point.f1)
    theirs = (other.usd_per_million_predictions, -other.f1)
    if ours == theirs:
        return _identity(point) < _identity(other)
    return ours[0] <= theirs[0] and ours[1] <= theirs[1]


def front(points: Iterable[FrontPoint]) -> list[FrontPoint]:
    """The points that none dominates, cheapest first. Of equal points the lower trial id stays."""
    ordered = sorted(points, key=lambda p: (p.usd_per_million_predictions, -p.f1, _identity(p)))
    kept: list[FrontPoint] = []
    for point in ordered:
        if not kept or point.f1 > kept[-1].f1:
            kept.append(point)
    return kept


def ladder(points: Sequence[FrontPoint]) -> list[LadderRow]:
    """Best point of each model size, cheapest first, with whether it stands on the front or what dominates it."""
    best: dict[str, FrontPoint] = {}
    for point in points:
        held = best.get(point.model_size)
        if held is None or _quality(point) < _quality(held):
            best[point.model_size] = point
    on_front = front(points)
    rows = []
    for point in sorted(best.values(), key=lambda p: (p.usd_per_million_predictions, _identity(p))):
        # The best of those that dominate it: the one a reader would take instead.
        rivals = sorted((p for p in on_front if dominates(p, point)), key=_quality)
        by = f"{rivals[0].trial_id} ({rivals[0].model_size})" if rivals else ""
        rows.append(LadderRow(**point.model_dump(), on_front=not rivals, dominated_by=by))
    return rows


def hypervolume(
    points: Iterable[FrontPoint], *, usd_bounds: tuple[float, float], f1_bounds: tuple[float, float]
) -> float:
    """Share of the box (log dollars x F1) that the front dominates, 0 to 1.

    Args:
        points: any points; dominated ones add nothing, those outside the box are cut to it.
        usd_bounds: cheapest and dearest dollars per million of the box, above 0.
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
