"""Who wins, and how sure is that? In: trial records, answers of the finalists. Out: Selection. Pure; no test split.

Where a finalist ran again with fresh seeds, the score that won it the place is dropped and the mean of the fresh runs
is used. Where saved answers are given, losses are bounded (`lft_ray.selection.significance`) and the bounds decide.
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
from lft_ray.selection.finalists import Candidates, Key, candidates, finalists, key_of
from lft_ray.selection.front import front, ladder
from lft_ray.selection.metrics import METRICS, scores
from lft_ray.selection.policies import best_f1, choose
from lft_ray.selection.reason import Facts, reason_of
from lft_ray.selection.significance import resample
from lft_ray.selection.verdict import Losses, no_bounds, pick, verdict_of

__all__ = ["Evidence", "candidates", "decide", "finalists", "runs_compared"]

SAME_F1 = 1e-6
"""Answers must give the recorded F1 back: those of a task that decodes otherwise are not used."""
MOST_COMPARED = 12
"""Twice the finalists: more points, which only a user's own policy weighs, would take minutes to bound."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What runs answered on the validation split.

    Attributes:
        truth: int64 [n] label numbers, or bool [n, c].
        answers: (trial id of the run, precision, max length) -> answers shaped as ``truth``.
        seed: of the bootstrap.
    """

    truth: NDArray[Any]
    answers: Mapping[Key, NDArray[Any]]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Contender:
    point: FrontPoint
    """As the search scored it."""
    fresh: list[tuple[float, str]]
    """(F1, trial id) of its fresh-seed runs, by trial id."""

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
        """Id of the trial whose checkpoint is shipped."""
        ordered = sorted(self.runs)
        return ordered[(len(ordered) - 1) // 2][1]

    @property
    def keys(self) -> list[Key]:
        return [(trial_id, self.point.precision, self.point.max_length) for _, trial_id in self.runs]


def runs_compared(
    records: Sequence[TrialRecord], spec: SelectionSpec, cost: CostSpec, *, validation_rows: int = 2000
) -> list[Key]:
    """The runs whose answers `decide` can use: (trial id, precision, max length).

    Raises:
        NoWinnerError: no finished trial may win.
    """
    pool = _contenders(records, spec, cost, candidates(records, spec, cost), validation_rows=validation_rows)
    return [key for contender in pool for key in contender.keys] if len(pool) <= MOST_COMPARED else []


def decide(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    metric: str = "macro_f1",
    validation_rows: int = 2000,
    evidence: Evidence | None = None,
) -> Selection:
    """Choose the winner. Equal records and answers give an equal choice, whenever it is asked for.

    Args:
        records: search trials and fresh-seed runs.
        spec: policy, margin and the cap on dollars.
        cost: the latency cap.
        metric: name of the score.
        validation_rows: rows that F1 was measured on.
        evidence: answers of the runs that `runs_compared` names; None: nothing is bounded, the policy takes the means.

    Returns:
        The selection, without test scores: those are filled in once, by whoever may read the test split.

    Raises:
        NoWinnerError: no finished trial may win.
    """
    found = candidates(records, spec, cost)
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
    found: Candidates,
    *,
    validation_rows: int,
) -> list[_Contender]:
    """Those that may win, with their fresh runs.

    While no fresh-seed run exists, points are judged by their search scores. As soon as one does, only finalists with
    fresh runs may win, each judged by their mean; the best of the search keeps its place without one, for losses are
    measured against the best.
    """
    final = finalists(records, spec, cost, validation_rows=validation_rows)
    fresh = {key_of(point): _fresh_runs(point, records) for point in found.allowed}
    if any(fresh.values()):
        best = best_f1(found.allowed)
        kept = [p for p in final if fresh[key_of(p)] or p == best]
        # A finalist of an earlier call keeps its place: new search trials must not undo a confirmation.
        pool = kept + [p for p in found.allowed if fresh[key_of(p)] and p not in final]
    else:
        # A rule of the user's may weigh all points against each other; ours look at finalists only.
        pool = final if spec.policy in POLICIES else found.allowed
    return [_Contender(point, fresh[key_of(point)]) for point in pool]


def _losses(
    pool: Sequence[_Contender],
    judged: Sequence[JudgedPoint],
    spec: SelectionSpec,
    evidence: Evidence | None,
    *,
    metric: str,
) -> Losses:
    """Every finalist's loss against the best, bounded where the answers of all their runs are there."""
    best = judged.index(best_f1(judged))
    if evidence is None or metric not in METRICS or not all(k in evidence.answers for c in pool for k in c.keys):
        return no_bounds(judged, best)
    answers = [[evidence.answers[key] for key in contender.keys] for contender in pool]
    recorded = [f1 for contender in pool for f1, _ in contender.runs]
    again = scores(evidence.truth, [run for runs in answers for run in runs], metric)
    if max(abs(again - recorded)) > SAME_F1:
        return no_bounds(judged, best)
    names = [[trial_id for _, trial_id in contender.runs] for contender in pool]
    sample = resample(evidence.truth, answers, metric=metric, seed=evidence.seed, names=names)
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
    """(F1, trial id) of the finished fresh-seed runs of a point, at its own precision and length, by trial id."""
    return [
        (variant.f1, record.trial_id)
        for record in sorted(records, key=lambda r: trial_order(r.trial_id))
        if record.role == "confirm"
        and record.confirms == point.trial_id
        and record.status is TrialStatus.DONE
        and (variant := record.variant(point.precision, point.max_length)) is not None
    ]
