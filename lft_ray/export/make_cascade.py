"""Make a cascade of two points of a study: tune it on validation, evaluate it once on test, export it.

In: a `CascadeJob`. Out: a `Cascade` record, and the folder ``cascade/`` in the run folder, deployed like a bundle.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lft_ray.cost.dollars import usd_per_million
from lft_ray.data.store import load_split
from lft_ray.errors import InputError, nearest
from lft_ray.export.build import ExportJob, export_trial
from lft_ray.export.cascade import CascadeSpec, put_cascade
from lft_ray.records import Cascade, FrontPoint, IngressProfile, ScoredVariant, TrialRecord
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.selection.cascade import CascadeEstimate, cascade_usd, estimate
from lft_ray.selection.evidence import Scorer
from lft_ray.selection.front import points_of
from lft_ray.selection.held_out import predict_logits
from lft_ray.selection.predictions import read_outputs
from lft_ray.tasks.base import ConfidentTask

__all__ = ["CascadeJob", "export_cascade", "make_cascade", "measure_cascade", "point_named"]


@dataclass(frozen=True, slots=True)
class CascadeJob:
    """Inputs for a cascade of two trials of one run.

    Attributes:
        export: candidates, data and selection of the run.
        ledger: ledger of the run; both trials are finished.
        ingress: measured cost of a request before any model runs.
        margin: F1 that may be given up, as a fraction.
        utilisation: fraction of a paid core that is busy.
        seed: random seed of the split of validation into halves.
    """

    export: ExportJob
    ledger: Ledger
    ingress: IngressProfile
    margin: float
    utilisation: float
    seed: int

    def record(self, point: FrontPoint) -> TrialRecord:
        """The trial record of a point."""
        return self.ledger.ended(point.trial_id)

    def variant(self, point: FrontPoint) -> ScoredVariant:
        """The variant of a point.

        Raises:
            InputError: its trial has no score at that precision and length.
        """
        found = self.record(point).variant(point.precision, point.max_length)
        if found is None:
            raise InputError(
                f"trial {point.trial_id} was not evaluated in {point.precision} at {point.max_length} tokens"
            )
        return found


def make_cascade(run: RunFolder, small: str, large: str, job: CascadeJob) -> Cascade:
    """Measure a pair, record it, and export it to ``cascade/`` in the run folder.

    Args:
        run: the run folder, with the cascades measured earlier.
        small: trial id or model size of the model called first.
        large: trial id or model size of the model called where the first is not confident.
        job: records of the run.

    Raises:
        InputError: there is no such trial, or no useful cascade of the pair.
        BundleError: a bundle does not reproduce the predictions of its trainer.
    """
    first, second = (point_named(name, job.ledger.records()) for name in (small, large))
    # The test split is read once per pair: reuse the measurement unless the margin has changed.
    found = next((c for c in run.cascades() if (c.small, c.large) == (first, second)), None)
    if found is None or found.margin != job.margin:
        found = measure_cascade(first, second, job)
    run.add_cascade(found)
    export_cascade(found, job)
    return found


def point_named(name: str, records: Sequence[TrialRecord]) -> FrontPoint:
    """The best finished point of a trial id or a model size.

    Raises:
        InputError: there is none; the error suggests the nearest name.
    """
    points = points_of(records)
    found = [point for point in points if name in (point.trial_id, point.model_size)]
    if not found:
        known = sorted({point.trial_id for point in points} | {point.model_size for point in points})
        raise InputError(
            f"no finished trial or model size is named {name!r}.{nearest(name, known)}",
            fix="--cascade SMALL,LARGE takes trial ids or model sizes of `lft leaderboard`",
        )
    return min(found, key=lambda point: (-point.f1, point.usd_per_million_predictions))


def measure_cascade(small: FrontPoint, large: FrontPoint, job: CascadeJob) -> Cascade:
    """Tune and measure a cascade on validation, then evaluate it once on the test split, if there is one.

    Args:
        small: the cheaper point.
        large: the more expensive point.
        job: records of the run.

    Raises:
        InputError: ``small`` is not cheaper than ``large``, or no useful cascade exists.
    """
    _check_order(small, large)
    (targets, ours), (other_targets, theirs) = (read_outputs(job.variant(point)) for point in (small, large))
    if not np.array_equal(targets, other_targets):
        raise InputError("the two trials were not evaluated on the same validation rows")
    candidates = job.export.candidates
    scorer = Scorer(candidates.task.make(), candidates.task.metric)
    found = estimate(ours, theirs, targets, scorer=scorer, margin=job.margin, seed=job.seed)
    request_usd = usd_per_million(0.0, job.ingress.core_s_per_request, candidates.price, utilisation=job.utilisation)
    usd = cascade_usd(small.usd_per_million_predictions, large.usd_per_million_predictions, request_usd, found.share)
    test = _evaluate_on_test(small, large, found, job)
    return Cascade(
        small=small,
        large=large,
        **asdict(found),
        usd_per_million_predictions=usd,
        margin=job.margin,
        validation_rows=len(targets),
        test_f1=test.f1,
        test_share=test.share,
        test_rows=test.rows,
    )


def _check_order(small: FrontPoint, large: FrontPoint) -> None:
    if small.usd_per_million_predictions >= large.usd_per_million_predictions:
        raise InputError(
            f"the first model of a cascade must be the cheaper one: {small.model_size} costs "
            f"${small.usd_per_million_predictions:.4g} per million predictions, {large.model_size} "
            f"${large.usd_per_million_predictions:.4g}",
            fix=f"--cascade {large.trial_id},{small.trial_id}",
        )


def export_cascade(cascade: Cascade, job: CascadeJob) -> None:
    """Export both checkpoints, each with its own parity check, and combine them in ``cascade/`` of the run folder.

    Raises:
        BundleError: a bundle does not reproduce the predictions of its trainer.
    """
    target = job.export.target
    bundles = []
    for part, point in (("small", cascade.small), ("large", cascade.large)):
        record = job.record(point)
        teacher = job.ledger.get(record.config.teacher)
        bundles.append(
            export_trial(record, job.export, teacher=teacher, name=f"cascade-{part}", variant=job.variant(point))
        )
    spec = CascadeSpec(
        small_version=bundles[0].version,
        large_version=bundles[1].version,
        temperature=cascade.temperature,
        threshold=cascade.threshold,
    )
    try:
        with target.local_copy("cascade-small") as small, target.local_copy("cascade-large") as large:
            put_cascade(small, large, spec, target, "cascade")
    finally:
        for part in ("small", "large"):
            target.delete_folder(f"cascade-{part}")


@dataclass(frozen=True, slots=True)
class _TestScores:
    """Scores of a cascade on the test split; the defaults mean that there is none."""

    f1: float | None = None
    share: float | None = None
    rows: int = 0


def _evaluate_on_test(small: FrontPoint, large: FrontPoint, found: CascadeEstimate, job: CascadeJob) -> _TestScores:
    """Test score and share with the deployed temperature and threshold."""
    dataset, task = job.export.dataset, job.export.candidates.task
    if "test" not in dataset.splits:
        return _TestScores()
    split, scorer = load_split(dataset, "test"), task.make()
    ours, theirs = (predict_logits(job.record(point), point, split.texts) for point in (small, large))
    assert isinstance(scorer, ConfidentTask)  # `estimate` has refused every other
    unsure = scorer.confidence(ours, found.temperature) < found.threshold
    metrics = scorer.metrics(split.targets, np.where(unsure[:, None], theirs, ours))
    return _TestScores(metrics[task.metric], float(unsure.mean()), len(split))
