"""From two points of a study to a cascade: measured on validation, looked at once on test, and put into the run folder.

In: `CascadeJob`. Out: a `Cascade`, and a folder that is deployed like a bundle.
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
from lft_ray.selection.cascade import CascadeEstimate, cascade_usd, confidence, estimate
from lft_ray.selection.front import points_of
from lft_ray.selection.held_out import predictions_of
from lft_ray.selection.predictions import read_predictions

__all__ = ["CascadeJob", "export_cascade", "make_cascade", "measure_cascade", "point_named"]


@dataclass(frozen=True, slots=True)
class CascadeJob:
    """A run of which two trials are put together.

    Attributes:
        export: candidates, data and selection of the run.
        ledger: both trials are finished.
        ingress: what a request costs before any model.
        margin: F1 that may be given up, as a fraction.
        utilisation: busy share of a bought core.
        seed: of the two halves of validation.
    """

    export: ExportJob
    ledger: Ledger
    ingress: IngressProfile
    margin: float
    utilisation: float
    seed: int

    def record(self, point: FrontPoint) -> TrialRecord:
        """The trial of a point."""
        return self.ledger.ended(point.trial_id)

    def variant(self, point: FrontPoint) -> ScoredVariant:
        """The variant of a point.

        Raises:
            InputError: its trial was not scored so.
        """
        found = self.record(point).variant(point.precision, point.max_length)
        if found is None:
            raise InputError(f"trial {point.trial_id} was not scored in {point.precision} at {point.max_length} tokens")
        return found


def make_cascade(run: RunFolder, small: str, large: str, job: CascadeJob) -> Cascade:
    """Measure a pair, write it down, and put its ``cascade/`` into the run folder.

    Args:
        run: earlier cascades.
        small: trial id or model size of the one that is asked first.
        large: of the one that is asked where the first is not sure.
        job: the run's records.

    Raises:
        InputError: there is no such trial, or the pair makes no cascade.
        BundleError: the answers of one of them differ from its trainer's.
    """
    first, second = (point_named(name, job.ledger.records()) for name in (small, large))
    # A pair that was looked at on the test split is not looked at again while nothing about it has changed.
    found = next((c for c in run.cascades() if (c.small, c.large) == (first, second)), None)
    if found is None or found.margin != job.margin:
        found = measure_cascade(first, second, job)
    run.add_cascade(found)
    export_cascade(found, job)
    return found


def point_named(name: str, records: Sequence[TrialRecord]) -> FrontPoint:
    """The best finished point of a trial id or a model size.

    Raises:
        InputError: there is none; the nearest name is told.
    """
    points = points_of(records)
    found = [point for point in points if name in (point.trial_id, point.model_size)]
    if not found:
        known = sorted({point.trial_id for point in points} | {point.model_size for point in points})
        raise InputError(
            f"no finished trial and no model size is called {name!r}.{nearest(name, known)}",
            fix="--cascade SMALL,LARGE takes trial ids or model sizes of `lft leaderboard`",
        )
    return min(found, key=lambda point: (-point.f1, point.usd_per_million_predictions))


def measure_cascade(small: FrontPoint, large: FrontPoint, job: CascadeJob) -> Cascade:
    """Choose and measure a cascade on validation, then look at the test split once.

    Args:
        small: the cheaper point.
        large: the dearer one.
        job: the run's records; its data has a test split, or none.

    Raises:
        InputError: the small one is not the cheaper, or no cascade can be chosen.
    """
    _check_order(small, large)
    (truth, ours), (other_truth, theirs) = (
        read_predictions(job.variant(point).predictions_uri) for point in (small, large)
    )
    if not np.array_equal(truth, other_truth):
        raise InputError("the two trials were not evaluated on the same validation rows")
    candidates = job.export.candidates
    found = estimate(ours, theirs, truth, metric=candidates.task.metric, margin=job.margin, seed=job.seed)
    request_usd = usd_per_million(0.0, job.ingress.core_s_per_request, candidates.price, utilisation=job.utilisation)
    usd = cascade_usd(small.usd_per_million_predictions, large.usd_per_million_predictions, request_usd, found.share)
    judged = _judged(small, large, found, job)
    return Cascade(
        small=small,
        large=large,
        **asdict(found),
        usd_per_million_predictions=usd,
        margin=job.margin,
        validation_rows=len(truth),
        test_f1=judged.f1,
        test_share=judged.share,
        test_rows=judged.rows,
    )


def _check_order(small: FrontPoint, large: FrontPoint) -> None:
    if small.usd_per_million_predictions >= large.usd_per_million_predictions:
        raise InputError(
            f"{small.model_size} is to be asked first, and costs ${small.usd_per_million_predictions:.4g} per million; "
            f"{large.model_size} costs ${large.usd_per_million_predictions:.4g}",
            fix=f"--cascade {large.trial_id},{small.trial_id}",
        )


def export_cascade(cascade: Cascade, job: CascadeJob) -> None:
    """Export both checkpoints, each with its own parity check, and put them together in ``cascade/`` of the run folder.

    Raises:
        BundleError: the answers of one of them differ from its trainer's.
    """
    target = job.export.target
    halves = []
    for part, point in (("small", cascade.small), ("large", cascade.large)):
        record = job.record(point)
        teacher = job.ledger.get(record.config.teacher)
        halves.append(
            export_trial(record, job.export, teacher=teacher, name=f"cascade-{part}", variant=job.variant(point))
        )
    spec = CascadeSpec(
        small_version=halves[0].version,
        large_version=halves[1].version,
        temperature=cascade.temperature,
        threshold=cascade.threshold,
    )
    small, large = (target.local_folder(f"cascade-{part}") for part in ("small", "large"))
    try:
        put_cascade(small, large, spec, target, "cascade")
    finally:
        for part in ("small", "large"):
            target.delete_folder(f"cascade-{part}")


@dataclass(frozen=True, slots=True)
class _Judged:
    f1: float | None = None
    share: float | None = None
    rows: int = 0


def _judged(small: FrontPoint, large: FrontPoint, found: CascadeEstimate, job: CascadeJob) -> _Judged:
    """Test score and share, of the checkpoints with the numbers that are deployed."""
    dataset, task = job.export.dataset, job.export.candidates.task
    if "test" not in dataset.splits:
        return _Judged()
    split = load_split(dataset, "test")
    ours, theirs = (predictions_of(job.record(point).checkpoint_uri, point, split.texts) for point in (small, large))
    unsure = confidence(ours, found.temperature) < found.threshold
    metrics = task.make().metrics(split.targets, np.where(unsure[:, None], theirs, ours))
    return _Judged(metrics[task.metric], float(unsure.mean()), len(split))
