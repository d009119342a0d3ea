"""Choose the winner and state how certain the choice is.

In: trial records, validation predictions of the finalists. Out: a `Selection`. Pure; never sees the test split.

Where a finalist has confirmation runs (the same configuration trained with new seeds), the score that nominated it is
dropped and the mean of those runs is used. Where predictions are given, losses against the best are bounded
(`lft_ray.selection.significance`) and the bounds decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from numpy.typing import NDArray

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.records import FrontPoint, JudgedPoint, Selection, TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order
from lft_ray.selection import POLICIES
from lft_ray.selection.finalists import EligiblePoints, Key, eligible_points, finalists, key_of
from lft_ray.selection.front import front, ladder
from lft_ray.selection.metrics import METRICS, scores
from lft_ray.selection.policies import best_f1, choose
from lft_ray.selection.reason import Facts, reason_of
from lft_ray.selection.significance import resample
from lft_ray.selection.verdict import Losses, no_bounds, pick, verdict_of

__all__ = ["Evidence", "decide", "runs_compared"]

F1_TOLERANCE = 1e-6
"""Predictions must reproduce the recorded F1 this closely: those of a task with its own decoding are not used."""
MAX_COMPARED = 12
"""Twice the number of finalists. Only a user's own policy compares more, and bounding those would take minutes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Predictions of several runs on the validation split.

    Attributes:
        truth: int64 [n], label indices, or bool [n, c] for several labels per text.
        predictions: (trial id of the run, precision, max length) -> array of the shape of ``truth``.
        seed: random seed of the bootstrap.
    """

    truth: NDArray[Any]
    predictions: Mapping[Key, NDArray[Any]]
    seed: int = 0


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
    def judged(self) -> JudgedPoint:
        f1 = fmean(f1 for f1, _ in self.runs)
        values = self.point.model_dump() | {"f1": f1, "search_f1": self.point.f1}
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


def runs_compared(
    records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec, *, validation_rows: int = 2000
) -> list[Key]:
    """Keys (trial id, precision, max length) of the runs whose predictions `decide` can use.

    Raises:
        NoWinnerError: no point is eligible.
    """
    pool = _contenders(records, spec, cost, eligible_points(records, spec, cost), validation_rows=validation_rows)
    return [key for contender in pool for key in contender.keys] if len(pool) <= MAX_COMPARED else []


def decide(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    metric: str = "macro_f1",
    validation_rows: int = 2000,
    evidence: Evidence | None = None,
) -> Selection:
    """Choose the winner. Deterministic: equal records and predictions give an equal choice.

    Args:
        records: search trials and confirmation runs.
        spec: policy, margin and the cap on serving cost.
        cost: the cap on latency.
        metric: name of the score.
        validation_rows: number of rows that F1 was measured on.
        evidence: predictions of the runs that `runs_compared` names; None: no loss is bounded, and the policy compares
            mean scores.

    Returns:
        The selection without test scores, which `held_out` adds after the choice.

    Raises:
        NoWinnerError: no point is eligible.
    """
    found = eligible_points(records, spec, cost)
    pool = _contenders(records, spec, cost, found, validation_rows=validation_rows)
    judged = [contender.judged for contender in pool]
    losses = _losses(pool, judged, spec, evidence, metric=metric)
    won = pick(judged, spec, losses, lambda points: choose(spec.policy, points, margin=spec.margin))
    verdict = verdict_of(judged, won, spec, losses)
    facts = Facts(metric=metric, trials=len(found.points), verdict=verdict)
    return Selection(
        policy=spec.policy,
        margin=spec.margin,
        finalists=finalists(records, spec, cost, validation_rows=validation_rows),
        confirmed_f1=_confirmed([pool[won], *pool]),
        winner=_plain(judged[won]),
        winner_seed_trial_id=pool[won].median_run,
        reason=reason_of(verdict.judged[won], verdict.judged, spec, facts),
        front=front(found.points),
        ladder=ladder(found.points),
        excluded=found.excluded,
        judged=sorted(verdict.judged, key=lambda p: (p.usd_per_million_predictions, -p.f1, trial_order(p.trial_id))),
        verdict="proven" if verdict.is_proven else "within_noise",
        rows_needed=verdict.rows_needed,
        validation_rows=verdict.rows,
    )


def _contenders(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    found: EligiblePoints,
    *,
    validation_rows: int,
) -> list[_Contender]:
    """The points that may win, with their confirmation runs.

    Without any confirmation run, points are compared by their search scores. Otherwise only finalists with confirmation
    runs may win, each compared by the mean of those. The best point of the search stays in the comparison even without
    one, because losses are measured against the best.
    """
    final = finalists(records, spec, cost, validation_rows=validation_rows)
    fresh = {key_of(point): _fresh_runs(point, records) for point in found.eligible}
    if any(fresh.values()):
        best = best_f1(found.eligible)
        confirmed = [p for p in final if fresh[key_of(p)] or p == best]
        # A finalist of an earlier call stays in: new search trials must not undo a confirmation.
        pool = confirmed + [p for p in found.eligible if fresh[key_of(p)] and p not in final]
    else:
        # A user's own policy may compare all points; the built-in ones choose among finalists only.
        pool = final if spec.policy in POLICIES else found.eligible
    return [_Contender(point, fresh[key_of(point)]) for point in pool]


def _losses(
    pool: Sequence[_Contender],
    judged: Sequence[JudgedPoint],
    spec: SelectionSpec,
    evidence: Evidence | None,
    *,
    metric: str,
) -> Losses:
    """Loss of every finalist against the best, bounded if the predictions of all their runs are available."""
    best = judged.index(best_f1(judged))
    if evidence is None or metric not in METRICS or not all(k in evidence.predictions for c in pool for k in c.keys):
        return no_bounds(judged, best)
    predictions = [[evidence.predictions[key] for key in contender.keys] for contender in pool]
    recorded = [f1 for contender in pool for f1, _ in contender.runs]
    recomputed = scores(evidence.truth, [run for runs in predictions for run in runs], metric)
    if max(abs(recomputed - recorded)) > F1_TOLERANCE:
        return no_bounds(judged, best)
    run_ids = [[trial_id for _, trial_id in contender.runs] for contender in pool]
    sample = resample(evidence.truth, predictions, metric=metric, seed=evidence.seed, run_ids=run_ids)
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
