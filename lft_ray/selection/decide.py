"""Who may win, who is confirmed with fresh seeds, who wins. In: trial records. Out: Selection. Pure; no test split.

The best of many noisy scores is optimistic by about 1 point of F1 over 20 trials. So finalists run again with fresh
seeds, and where they did, the score that won them the place is dropped and the mean of the fresh runs is used.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.errors import NoWinnerError
from lft_ray.ledger import trial_order
from lft_ray.records import FrontPoint, Selection, TrialRecord, TrialStatus
from lft_ray.selection.front import front, ladder, points_of
from lft_ray.selection.policies import best_f1, cheapest_within, choose
from lft_ray.selection.sentence import reason_of

__all__ = ["Candidates", "candidates", "decide", "finalists"]

MAX_FINALISTS = 3
LEAST_NOISE = 0.003
"""F1. Seeds alone move a fine-tuned encoder by a few tenths of a point, however large the validation split."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """All points of a study, those that may win, and why the other trials may not."""

    points: list[FrontPoint]
    allowed: list[FrontPoint]
    excluded: dict[str, str]
    """Trial id -> reason."""


def candidates(records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec) -> Candidates:
    """Sort the search trials into those that may win and those that may not.

    Args:
        records: the ledger; runs with fresh seeds are not candidates.
        spec: margin, policy and the cap on dollars.
        cost: the cap on latency, ``cost.traffic.p95_ms``.
    """
    points = points_of(records)
    verdicts = [(point, _breach(point, spec, cost)) for point in points]
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
    """The points worth running again with fresh seeds, at most 3, in the order in which to run them.

    First the point the policy would take today, then the best, then the cheapest that noise alone could keep from
    being within the margin, then the next cheapest of those.

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
    noise = max(LEAST_NOISE, math.sqrt(best.f1 * (1.0 - best.f1) / max(validation_rows, 1)))
    floor = best.f1 - spec.margin - noise
    near = front([p for p in found.allowed if p.f1 >= floor])
    ordered = [choose(spec.policy, found.allowed, margin=spec.margin), best, *near]
    unique: dict[tuple[str, str, int], FrontPoint] = {}
    for point in ordered:
        unique.setdefault(_key(point), point)
    return list(unique.values())[:MAX_FINALISTS]


def decide(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    metric: str = "macro_f1",
    validation_rows: int = 2000,
) -> Selection:
    """Choose the winner. Equal records give an equal choice, whenever it is asked for.

    While no fresh-seed run exists, every allowed point is judged by its search score. As soon as one does, only
    finalists may win, each judged by the mean of its fresh runs (its search score where it has none).

    Args:
        records: search trials and fresh-seed runs.
        spec: policy, margin and the cap on dollars.
        cost: the latency cap.
        metric: name of the score, for the sentence.
        validation_rows: rows that F1 was measured on.

    Returns:
        The selection, without test scores: those are filled in once, by whoever may read the test split.

    Raises:
        NoWinnerError: no finished trial may win.
    """
    found = candidates(records, spec, cost)
    final = finalists(records, spec, cost, validation_rows=validation_rows)
    runs = {_key(point): _fresh_runs(point, records) for point in found.allowed}
    pool = found.allowed
    if any(runs.values()):
        # A finalist of an earlier call keeps its place: new search trials must not undo a confirmation.
        pool = final + [p for p in found.allowed if runs[_key(p)] and p not in final]
    judged = [_judged(point, runs[_key(point)]) for point in pool]
    winner = choose(spec.policy, judged, margin=spec.margin)
    fresh = sorted(runs[_key(winner)])
    confirmed = {point.trial_id: [f for f, _ in runs[_key(point)]] for point in [*pool, winner] if runs[_key(point)]}
    return Selection(
        policy=spec.policy,
        margin=spec.margin,
        front=front(found.points),
        ladder=ladder(found.points),
        finalists=final,
        confirmed_f1=confirmed,
        winner=winner,
        winner_seed_trial_id=fresh[(len(fresh) - 1) // 2][1] if fresh else winner.trial_id,
        excluded=found.excluded,
        reason=reason_of(winner, judged, spec, metric=metric, fresh_runs=len(fresh)),
    )


def _key(point: FrontPoint) -> tuple[str, str, int]:
    return (point.trial_id, point.precision, point.max_length)


def _judged(point: FrontPoint, fresh: list[tuple[float, str]]) -> FrontPoint:
    """The point with the F1 that decides: the mean of its fresh runs, or its search score where it has none."""
    return point.model_copy(update={"f1": fmean(f for f, _ in fresh)}) if fresh else point


def _fresh_runs(point: FrontPoint, records: Sequence[TrialRecord]) -> list[tuple[float, str]]:
    """(F1, trial id) of the finished fresh-seed runs of a point, at its own precision and length, by trial id."""
    return [
        (variant.f1, record.trial_id)
        for record in sorted(records, key=lambda r: trial_order(r.trial_id))
        if record.role == "confirm" and record.confirms == point.trial_id and record.status is TrialStatus.DONE
        for variant in record.variants
        if (variant.precision, variant.max_length) == (point.precision, point.max_length)
    ]


def _breach(point: FrontPoint, spec: SelectionSpec, cost: CostSpec) -> str:
    usd, cap = point.usd_per_million_predictions, spec.max_usd_per_million
    if cap is not None and usd > cap:
        return f"${usd:.4g} per million predictions is above selection.max_usd_per_million {cap:g}"
    p95_cap = cost.traffic.p95_ms
    if p95_cap is None:
        return ""
    if point.p95_ms is None:
        return f"its p95 latency was not measured, and cost.traffic.p95_ms is {p95_cap:g}"
    return f"p95 {point.p95_ms:.0f} ms is above cost.traffic.p95_ms {p95_cap:g}" if point.p95_ms > p95_cap else ""


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
