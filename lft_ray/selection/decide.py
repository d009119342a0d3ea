"""Choose the winner and state how certain the choice is.

In: trial records, validation predictions of the finalists. Out: a `Selection`. Pure; never sees the test split.

Where a finalist has confirmation runs (the same configuration trained with new seeds), the score that nominated it is
dropped and the mean of those runs is used. Where predictions are given, losses against the best are bounded
(`lft_ray.selection.significance`) and the bounds decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.records import (
    Comparison,
    ConfirmationCount,
    FrontPoint,
    JudgedPoint,
    NotCompared,
    Selection,
    SizeCoverage,
    TrialRecord,
    TrialStatus,
)
from lft_ray.run.ledger import trial_order
from lft_ray.selection import POLICIES
from lft_ray.selection.coverage import confirmation_count, confirmation_sentence, coverage_sentence, mostly_failed
from lft_ray.selection.evidence import Evidence, Key
from lft_ray.selection.finalists import EligiblePoints, eligible_points, finalists
from lft_ray.selection.front import front, ladder
from lft_ray.selection.policies import best_f1, choose
from lft_ray.selection.reason import Facts, not_compared_sentence, reason_of
from lft_ray.selection.screening import Noise, is_linear, key_of
from lft_ray.selection.verdict import Losses, Verdict, no_bounds, pick, verdict_of

__all__ = ["Evidence", "decide"]

MAX_COMPARED = 40
"""Three times the number of finalists, or each in several precisions. Only a user's own policy compares more, and
bounding those would take minutes."""


@dataclass(frozen=True, slots=True)
class _Contender:
    """A point that may win, with its confirmation runs."""

    point: FrontPoint
    """The point as scored by the search."""
    fresh: list[tuple[float, str]]
    """(F1, trial id) of its confirmation runs, by trial id."""

    @property
    def runs(self) -> list[tuple[float, str]]:
        return self.fresh or [(self.point.f1, self.point.trial_id)]

    @property
    def is_seedless(self) -> bool:
        """Whether its search run counts as a confirmation run: another seed would train the same model."""
        return is_linear(self.point.model_size) and not self.fresh

    @property
    def is_confirmed(self) -> bool:
        return bool(self.fresh) or self.is_seedless

    @property
    def judged(self) -> JudgedPoint:
        f1 = fmean(f1 for f1, _ in self.runs)
        values = self.point.model_dump() | {"f1": f1, "search_f1": self.point.f1, "is_seedless": self.is_seedless}
        return JudgedPoint(**values, fresh_f1=[f for f, _ in self.fresh])

    @property
    def median_run(self) -> str:
        """Id of the trial whose checkpoint is shipped: the run of median F1."""
        ordered = sorted(self.runs)
        # Of an even number the lower median: the F1 of a real checkpoint, and not the luckier of the two.
        return ordered[(len(ordered) - 1) // 2][1]

    @property
    def keys(self) -> list[Key]:
        return [(trial_id, self.point.precision, self.point.max_length) for _, trial_id in self.runs]


def decide(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    metric_name: str = "",
    validation_rows: int = 2000,
    evidence: Evidence | None = None,
    coverage: Sequence[SizeCoverage] = (),
) -> Selection:
    """Choose the winner. Deterministic: equal records and predictions give an equal choice.

    Args:
        records: search trials and confirmation runs.
        spec: policy, margin and the cap on serving cost.
        cost: the cap on latency.
        metric_name: what F1 is called in sentences, such as macro-F1; empty: as in ``evidence``, or F1.
        validation_rows: number of rows that F1 was measured on.
        evidence: predictions of the confirmation runs, and of the search runs; without those of a point that is
            compared no loss is bounded, and the policy compares mean scores.
        coverage: what became of each model size of the study; empty: only the sizes in ``records`` are known.

    Returns:
        The selection without test scores, which `held_out` adds after the choice.

    Raises:
        NoWinnerError: no point is eligible.
    """
    found = eligible_points(records, spec, cost)
    final = finalists(records, spec, cost, noise=Noise(validation_rows, evidence))
    pool = _contenders(records, spec, found, final)
    judged = [contender.judged for contender in pool]
    losses = _losses(pool, judged, spec, evidence)
    won = pick(judged, spec, losses, lambda points: choose(spec.policy, points, margin=spec.margin))
    missing = _not_compared(final, pool, records)
    is_opposed = _is_opposed(judged, found, coverage)
    verdict = verdict_of(judged, won, spec, losses, is_opposed=is_opposed, is_complete=not missing)
    name = metric_name or (evidence.scorer.metric_name if evidence else "F1")
    facts = _facts(records, found, verdict, judged[won], missing, name)
    points = sorted(_with_intervals(verdict, losses), key=_by_cost)
    return Selection(
        policy=spec.policy,
        margin=spec.margin,
        finalists=final,
        confirmed_f1=_confirmed([pool[won], *pool]),
        winner=_plain(next(point for point in points if key_of(point) == key_of(judged[won]))),
        winner_seed_trial_id=pool[won].median_run,
        reason=reason_of(verdict.judged[won], verdict.judged, spec, facts),
        remarks=_remarks(missing, coverage, facts.confirmations),
        front=front(found.points),
        ladder=ladder(found.points),
        excluded=found.excluded,
        judged=points,
        verdict=verdict.kind,
        compared_with=sorted(_comparisons(judged, won, losses), key=_by_cost),
        not_compared=missing,
        coverage=list(coverage),
        confirmations=facts.confirmations,
        rows_needed=verdict.rows_needed,
        validation_rows=verdict.rows,
    )


def _remarks(
    missing: Sequence[NotCompared], coverage: Sequence[SizeCoverage], confirmations: ConfirmationCount
) -> list[str]:
    """Sentences on what was not compared, not tried, or failed; none where there is nothing to say."""
    failed = confirmation_sentence(confirmations)
    found = [not_compared_sentence(missing), coverage_sentence(coverage), f"{failed}." if failed else ""]
    return [remark for remark in found if remark]


def _contenders(
    records: Sequence[TrialRecord], spec: SelectionSpec, found: EligiblePoints, final: Sequence[FrontPoint]
) -> list[_Contender]:
    """The points that may win, with their confirmation runs.

    Without any confirmation run, points are compared by their search scores. Otherwise only finalists with confirmation
    runs, or that need none, may win, each compared by the mean of those. The best point of the search stays in the
    comparison even without one, because losses are measured against the best.
    """
    fresh = {key_of(point): _fresh_runs(point, records) for point in found.eligible}
    if not any(fresh.values()):
        # A user's own policy may compare all points; the built-in ones choose among finalists only.
        return [_Contender(point, []) for point in (final if spec.policy in POLICIES else found.eligible)]
    best = best_f1(found.eligible)
    confirmed = [p for p in final if _Contender(p, fresh[key_of(p)]).is_confirmed or p == best]
    # A finalist of an earlier call stays in: new search trials must not undo a confirmation.
    pool = confirmed + [p for p in found.eligible if fresh[key_of(p)] and p not in final]
    return [_Contender(point, fresh[key_of(point)]) for point in pool]


def _is_opposed(judged: Sequence[JudgedPoint], found: EligiblePoints, coverage: Sequence[SizeCoverage]) -> bool:
    """Whether there was anything to compare with: another size or, in a study of one size, another point of it."""
    sizes = {point.model_size for point in found.points} | {row.model_size for row in coverage}
    return len({point.model_size for point in judged}) > 1 or (len(judged) > 1 and len(sizes) == 1)


def _not_compared(
    final: Sequence[FrontPoint], pool: Sequence[_Contender], records: Sequence[TrialRecord]
) -> list[NotCompared]:
    """Sizes among the finalists without a confirmed point; none where no confirmation run finished at all."""
    if not any(contender.fresh for contender in pool):
        return []
    compared = {contender.point.model_size for contender in pool if contender.is_confirmed}
    missing: dict[str, NotCompared] = {}
    for point in final:
        if point.model_size not in compared:
            reason = _why_unconfirmed(point, records)
            missing.setdefault(
                point.model_size, NotCompared(model_size=point.model_size, trial_id=point.trial_id, reason=reason)
            )
    return list(missing.values())


def _why_unconfirmed(point: FrontPoint, records: Sequence[TrialRecord]) -> str:
    runs = [r for r in records if r.role == "confirm" and r.confirms == point.trial_id]
    return (
        confirmation_sentence(confirmation_count(runs))
        or "selection.confirmation_fraction left no confirmation run for it"
    )


def _facts(
    records: Sequence[TrialRecord],
    found: EligiblePoints,
    verdict: Verdict,
    winner: JudgedPoint,
    missing: Sequence[NotCompared],
    metric_name: str,
) -> Facts:
    usd = winner.usd_per_million_predictions
    return Facts(
        metric_name=metric_name,
        verdict=verdict,
        is_cheapest=not any(p.usd_per_million_predictions < usd for p in found.eligible),
        other_sizes=len({p.model_size for p in found.points} - {p.model_size for p in verdict.judged}),
        missing=tuple(missing),
        confirmations=confirmation_count(records),
        failures=mostly_failed(records),
    )


def _comparisons(judged: Sequence[JudgedPoint], won: int, losses: Losses) -> list[Comparison]:
    """The winner against every other point."""
    sample = losses.sample
    return [
        Comparison(
            **_plain(point).model_dump(),
            difference=judged[won].f1 - point.f1,
            interval=sample.difference(i, won).interval if sample else None,
        )
        for i, point in enumerate(judged)
        if i != won
    ]


def _with_intervals(verdict: Verdict, losses: Losses) -> list[JudgedPoint]:
    sample = losses.sample
    if sample is None:
        return list(verdict.judged)
    return [point.replace(f1_interval=sample.interval(i)) for i, point in enumerate(verdict.judged)]


def _by_cost(point: FrontPoint) -> tuple[float, float, tuple[str, int]]:
    return (point.usd_per_million_predictions, -point.f1, trial_order(point.trial_id))


def _losses(
    pool: Sequence[_Contender],
    judged: Sequence[JudgedPoint],
    spec: SelectionSpec,
    evidence: Evidence | None,
) -> Losses:
    """Loss of every finalist against the best, bounded if the predictions of all their runs are available."""
    best = judged.index(best_f1(judged))
    keys = [key for contender in pool for key in contender.keys]
    recorded = [f1 for contender in pool for f1, _ in contender.runs]
    if evidence is None or len(pool) > MAX_COMPARED or not evidence.reproduces(keys, recorded):
        return no_bounds(judged, best)
    sample = evidence.resample(
        [contender.keys for contender in pool],
        run_ids=[[trial_id for _, trial_id in contender.runs] for contender in pool],
        seedless=[i for i, contender in enumerate(pool) if contender.is_seedless],
    )
    return Losses.of(sample, judged, best, margin=spec.margin)


def _plain(point: JudgedPoint) -> FrontPoint:
    return FrontPoint.model_validate(point.model_dump(include=set(FrontPoint.model_fields)))


def _confirmed(pool: Sequence[_Contender]) -> dict[str, list[float]]:
    confirmed: dict[str, list[float]] = {}
    for contender in pool:
        if contender.fresh:
            confirmed.setdefault(contender.point.trial_id, [f1 for f1, _ in contender.fresh])
    return confirmed


def _fresh_runs(point: FrontPoint, records: Sequence[TrialRecord]) -> list[tuple[float, str]]:
    """(F1, trial id) of the finished confirmation runs of a point, at its own precision and length, by trial id."""
    return [
        (variant.f1, record.trial_id)
        for record in sorted(records, key=lambda r: trial_order(r.trial_id))
        if record.role == "confirm"
        and record.confirms == point.trial_id
        and record.status is TrialStatus.DONE
        and (variant := record.variant(point.precision, point.max_length)) is not None
    ]
