"""Which points are eligible to win, and which are worth confirming with new seeds.

In: trial records, predictions of the search. Out: points. Pure. Never picks the winner. The best of many noisy scores
is optimistic, by about 1 point of F1 over 20 trials, so the finalists are trained again.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.cost.caps import Caps
from lft_ray.errors import NoWinnerError
from lft_ray.records import FrontPoint, TrialRecord, TrialStatus
from lft_ray.selection.evidence import Key
from lft_ray.selection.front import front, points_of
from lft_ray.selection.policies import best_f1, cheapest_within, choose
from lft_ray.selection.screening import SEED_SPREAD, Noise, key_of, rows_variance, sizes_in_question

__all__ = ["MAX_FINALISTS", "EligiblePoints", "best_of_sizes", "eligible_points", "finalists"]

MAX_FINALISTS = 8
"""Besides the default configuration. A ladder has six or seven sizes; more finalists get fewer seeds each."""
Z_95 = 1.645
TINY = 1e-9
"""Dollars per million predictions in place of 0."""


@dataclass(frozen=True, slots=True)
class EligiblePoints:
    """All points of a study, those that are eligible to win, and why the other trials are not."""

    points: list[FrontPoint]
    eligible: list[FrontPoint]
    excluded: dict[str, str]
    """Trial id -> reason, of trials without any eligible point."""


def eligible_points(records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec) -> EligiblePoints:
    """Split the points of the search trials into those that are eligible to win and those that are not.

    Args:
        records: trial records of the ledger; confirmation runs are not eligible.
        spec: margin, policy and the cap on serving cost.
        cost: the cap on latency, ``cost.traffic.p95_ms``.
    """
    points = points_of(records)
    caps = Caps.of(spec, cost)
    verdicts = [(point, caps.breach(point.usd_per_million_predictions, point.p95_ms)) for point in points]
    eligible = [point for point, breach in verdicts if not breach]
    excluded = {r.trial_id: _not_finished(r) for r in records if r.role == "search"}
    for point, breach in verdicts:
        excluded[point.trial_id] = breach
    # A trial with one eligible variant is not excluded, whatever caps its other variants exceed.
    for point in eligible:
        excluded[point.trial_id] = ""
    return EligiblePoints(points=points, eligible=eligible, excluded={k: v for k, v in excluded.items() if v})


def finalists(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    validation_rows: int = 2000,
    noise: Noise | None = None,
) -> list[FrontPoint]:
    """The points worth confirming, most important first: at most 8, and the default configuration.

    1. The best point, which every loss is measured against.
    2. The current choice of the policy.
    3. The best point of the cheapest size that finished, however far behind it is: nothing is called the cheapest that
       was not compared with it. A linear model needs no confirmation runs, so this costs little.
    4. The best point of each octave of cost (a factor of 2; the best point of all is the cheapest of its own octave),
       of the Pareto-optimal points that noise alone could keep from being within the margin, cheapest first.
    5. The best point of every other size that one seed cannot rule out (`lft_ray.selection.screening`), the most
       likely to matter first.

    Confirmation runs are given to them in this order as far as time and money go. Of the sizes in this list, those that
    could not be compared keep the choice from being proven.

    The default configuration comes last: the start trial of the size that the policy chooses, at the same precision
    and length. It costs the same to serve, so it wins where tuning only fitted noise, which happens in about one search
    of ten (arXiv:2506.19540).

    Args:
        records: trial records of the ledger.
        spec: margin and policy.
        cost: the cap on latency.
        validation_rows: number of rows that F1 was measured on; fewer rows, more noise.
        noise: rows and predictions of the search; None: only ``validation_rows`` is known.

    Raises:
        NoWinnerError: no point is eligible.
    """
    found = eligible_points(records, spec, cost)
    if not found.eligible:
        raise _no_winner(records, found)
    noise = noise or Noise(validation_rows)
    best = best_f1(found.eligible)
    # Noise of a difference: the binomial row noise of one score, as both share their rows, and the seeds of both runs.
    near_by = Z_95 * math.sqrt(rows_variance(best, noise.rows) + 2.0 * SEED_SPREAD**2)
    near = front([p for p in found.eligible if p.f1 >= best.f1 - spec.margin - near_by])
    octaves = sorted(_best_by_octave(near, best), key=lambda p: p.usd_per_million_predictions)
    pool = octaves if spec.policy == "cheapest_within" else found.eligible
    choice = choose(spec.policy, pool, margin=spec.margin)
    of_size = best_of_sizes(found.eligible)
    cheapest = of_size[cheapest_within(found.eligible, margin=1.0).model_size]
    rivals = [point for size, point in of_size.items() if size != best.model_size]
    unique: dict[Key, FrontPoint] = {}
    for point in [best, choice, cheapest, *octaves, *sizes_in_question(best, rivals, spec, noise)]:
        # One point of a size suffices, unless the policy or an octave asks for another.
        if point in (best, choice, cheapest, *octaves) or point.model_size not in {
            p.model_size for p in unique.values()
        }:
            unique.setdefault(key_of(point), point)
    chosen = list(unique.values())[:MAX_FINALISTS]
    return chosen + [p for p in _default(records, found.eligible, choice) if key_of(p) not in map(key_of, chosen)]


def best_of_sizes(points: Sequence[FrontPoint]) -> dict[str, FrontPoint]:
    """Model size -> its point of highest F1."""
    by_size: dict[str, list[FrontPoint]] = {}
    for point in points:
        by_size.setdefault(point.model_size, []).append(point)
    return {size: best_f1(of_size) for size, of_size in by_size.items()}


def _best_by_octave(points: Sequence[FrontPoint], best: FrontPoint) -> list[FrontPoint]:
    bins: dict[int, list[FrontPoint]] = {}
    for point in points:
        # A price of 0 is a price: all that is free is one octave.
        ratio = (point.usd_per_million_predictions or TINY) / (best.usd_per_million_predictions or TINY)
        bins.setdefault(math.floor(math.log2(max(ratio, 1e-9)) + 1e-9), []).append(point)
    return [best_f1(octave) for octave in bins.values()]


def _default(records: Sequence[TrialRecord], eligible: Sequence[FrontPoint], choice: FrontPoint) -> list[FrontPoint]:
    started = {r.trial_id for r in records if r.start and r.role == "search"}
    same = [
        p
        for p in eligible
        if p.trial_id in started
        and (p.model_size, p.precision, p.max_length) == (choice.model_size, choice.precision, choice.max_length)
    ]
    return same[:1]


def _not_finished(record: TrialRecord) -> str:
    if record.status is TrialStatus.DONE:
        return "its serving cost was not measured"
    return f"{record.status.value}: {record.reason}" if record.reason else record.status.value


def _no_winner(records: Sequence[TrialRecord], found: EligiblePoints) -> NoWinnerError:
    counts = Counter(r.status.value for r in records if r.role == "search")
    summary = ", ".join(f"{counts[s.value]} {s.value}" for s in TrialStatus)
    if not found.points:
        reasons = Counter(r.reason for r in records if r.reason and r.status is not TrialStatus.DONE).most_common(1)
        first = f" Most frequent reason: {' '.join(reasons[0][0].split())}" if reasons else ""
        return NoWinnerError(
            f"no trial finished ({summary}), so there is nothing to ship.{first}",
            fix="give the search more search.minutes or search.budget_usd, or fix the reason and run it again",
        )
    caps = Counter(_cap_of(reason) for reason in found.excluded.values() if _cap_of(reason))
    worst = ", ".join(f"{cap} excluded {count}" for cap, count in caps.most_common())
    cheapest = cheapest_within(found.points, margin=1.0)
    return NoWinnerError(
        f"no finished trial is within the caps ({summary}): {worst}. The cheapest is {cheapest.model_size} "
        f"({cheapest.trial_id}) at ${cheapest.usd_per_million_predictions:.4g} per million predictions.",
        fix=f"raise {caps.most_common(1)[0][0]}, or add smaller models",
    )


def _cap_of(reason: str) -> str:
    return next((cap for cap in ("selection.max_usd_per_million", "cost.traffic.p95_ms") if cap in reason), "")
