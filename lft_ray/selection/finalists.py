"""Who may win, and who is worth running again with fresh seeds. In: trial records. Out: points. Pure; decides nothing.

The best of many noisy scores is optimistic by about 1 point of F1 over 20 trials, so what looks best is run again.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.cost.caps import Caps
from lft_ray.errors import NoWinnerError
from lft_ray.records import FrontPoint, TrialRecord, TrialStatus
from lft_ray.selection.front import front, points_of
from lft_ray.selection.policies import best_f1, cheapest_within, choose

__all__ = ["MAX_FINALISTS", "Candidates", "Key", "candidates", "finalists", "key_of"]

MAX_FINALISTS = 5
"""Besides the default configuration."""
SEED_SPREAD = 0.006
"""F1: how far two seeds of a fine-tuned encoder are apart, as a standard deviation."""
Z_95 = 1.645

Key = tuple[str, str, int]
"""Trial id, precision and max length: what a point is known by."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """All points of a study, those that may win, and why the other trials may not."""

    points: list[FrontPoint]
    allowed: list[FrontPoint]
    excluded: dict[str, str]
    """Trial id -> reason."""


def key_of(point: FrontPoint) -> Key:
    """What a point is known by."""
    return (point.trial_id, point.precision, point.max_length)


def candidates(records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec) -> Candidates:
    """Sort the search trials into those that may win and those that may not.

    Args:
        records: the ledger; runs with fresh seeds are not candidates.
        spec: margin, policy and the cap on dollars.
        cost: the cap on latency, ``cost.traffic.p95_ms``.
    """
    points = points_of(records)
    caps = Caps.of(spec, cost)
    verdicts = [(point, caps.breach(point.usd_per_million_predictions, point.p95_ms)) for point in points]
    allowed = [point for point, breach in verdicts if not breach]
    excluded = {r.trial_id: _not_finished(r) for r in records if r.role == "search"}
    for point, breach in verdicts:
        excluded[point.trial_id] = breach
    for point in allowed:
        excluded[point.trial_id] = ""
    return Candidates(points=points, allowed=allowed, excluded={k: v for k, v in excluded.items() if v})


def finalists(
    records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec, *, validation_rows: int = 2000
) -> list[FrontPoint]:
    """The points worth running again, the last to be left out first: at most 5, and the default configuration.

    Of the points on the front that noise alone could keep from being within the margin, the best of each octave of
    dollars (a factor of 2; the best point of all is the cheapest of its own octave). Order: the best, which every loss
    is measured against; what the policy would take today; the others, cheapest first.

    The default configuration comes last: the start trial of the size that the policy would take, at the same precision
    and length. It costs the same to serve, so it wins where tuning only fitted noise, which happens in about one search
    of ten (arXiv:2506.19540).

    Args:
        records: the ledger.
        spec: margin and policy.
        cost: the latency cap.
        validation_rows: rows that F1 was measured on; fewer rows, more noise.

    Raises:
        NoWinnerError: no point may win.
    """
    found = candidates(records, spec, cost)
    if not found.allowed:
        raise _no_winner(records, found)
    best = best_f1(found.allowed)
    noise = Z_95 * math.sqrt(best.f1 * (1.0 - best.f1) / max(validation_rows, 1) + 2.0 * SEED_SPREAD**2)
    near = front([p for p in found.allowed if p.f1 >= best.f1 - spec.margin - noise])
    octaves = sorted(_best_by_octave(near, best), key=lambda p: p.usd_per_million_predictions)
    pool = octaves if spec.policy == "cheapest_within" else found.allowed
    choice = choose(spec.policy, pool, margin=spec.margin)
    unique: dict[Key, FrontPoint] = {}
    for point in [best, choice, *octaves]:
        unique.setdefault(key_of(point), point)
    kept = list(unique.values())[:MAX_FINALISTS]
    return kept + [p for p in _default(records, found.allowed, choice) if key_of(p) not in map(key_of, kept)]


def _best_by_octave(points: Sequence[FrontPoint], best: FrontPoint) -> list[FrontPoint]:
    bins: dict[int, list[FrontPoint]] = {}
    for point in points:
        ratio = point.usd_per_million_predictions / best.usd_per_million_predictions
        bins.setdefault(math.floor(math.log2(max(ratio, 1e-9)) + 1e-9), []).append(point)
    return [best_f1(octave) for octave in bins.values()]


def _default(records: Sequence[TrialRecord], allowed: Sequence[FrontPoint], choice: FrontPoint) -> list[FrontPoint]:
    started = {r.trial_id for r in records if r.start and r.role == "search"}
    same = [
        p
        for p in allowed
        if p.trial_id in started
        and (p.model_size, p.precision, p.max_length) == (choice.model_size, choice.precision, choice.max_length)
    ]
    return same[:1]


def _not_finished(record: TrialRecord) -> str:
    if record.status is TrialStatus.DONE:
        return "its serving cost was not measured"
    return f"{record.status.value}: {record.reason}" if record.reason else record.status.value


def _no_winner(records: Sequence[TrialRecord], found: Candidates) -> NoWinnerError:
    counts = Counter(r.status.value for r in records if r.role == "search")
    summary = ", ".join(f"{counts[s.value]} {s.value}" for s in TrialStatus)
    if not found.points:
        reasons = Counter(r.reason for r in records if r.reason and r.status is not TrialStatus.DONE).most_common(1)
        first = f" Most frequent reason: {reasons[0][0]}" if reasons else ""
        return NoWinnerError(
            f"no trial finished ({summary}), so there is nothing to ship.{first}",
            fix="give the search more search.minutes or search.budget_usd, or fix the reason and run it again",
        )
    caps = Counter(_cap_of(reason) for reason in found.excluded.values() if _cap_of(reason))
    worst = ", ".join(f"{cap} excluded {count}" for cap, count in caps.most_common())
    cheapest = cheapest_within(found.points, margin=1.0)
    return NoWinnerError(
        f"no finished trial may be shipped ({summary}): {worst}. The cheapest is {cheapest.model_size} "
        f"({cheapest.trial_id}) at ${cheapest.usd_per_million_predictions:.4g} per million predictions.",
        fix=f"raise {caps.most_common(1)[0][0]}, or add smaller models",
    )


def _cap_of(reason: str) -> str:
    return next((cap for cap in ("selection.max_usd_per_million", "cost.traffic.p95_ms") if cap in reason), "")
