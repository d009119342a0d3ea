"""From two points of a study to a cascade: measured on validation, looked at once on test, and put into the run folder.

In: records. Out: a `Cascade`, and a folder that is deployed like a bundle.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from lft_ray.config import Experiment
from lft_ray.cost.prices import price_of
from lft_ray.cost.serving import usd_per_million
from lft_ray.data.store import load_split
from lft_ray.decision import FrontPoint
from lft_ray.delivery import Cascade
from lft_ray.errors import InputError, nearest
from lft_ray.export.answers import read_predictions
from lft_ray.export.cascade import CascadeSpec, put_cascade
from lft_ray.export.judge import answers_of
from lft_ray.export.stage import export_trial
from lft_ray.ledger import Ledger
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, IngressProfile, TrialRecord, Variant
from lft_ray.run_folder import RunFolder
from lft_ray.selection.cascade import CascadeEstimate, cascade_usd, confidence, estimate
from lft_ray.selection.front import points_of
from lft_ray.tasks import TASKS

__all__ = ["export_cascade", "make_cascade", "measure_cascade", "point_named"]


def make_cascade(run: RunFolder, small: str, large: str, *, experiment: Experiment) -> Cascade:
    """Measure a pair, write it down, and put its ``cascade/`` into the run folder.

    Args:
        run: with both trials finished.
        small: trial id or model size of the one that is asked first.
        large: of the one that is asked where the first is not sure.
        experiment: margin and prices.

    Raises:
        InputError: there is no such trial, or the pair makes no cascade.
        BundleError: the answers of one of them differ from its trainer's.
    """
    records = Ledger(run.storage).records()
    dataset = run.dataset()
    book = run.profiles()
    if dataset is None or book is None:
        raise InputError(f"{run.uri} has no profiles yet", fix="`lft search ... --resume` continues it")
    points = [point_named(name, records) for name in (small, large)]
    # A pair that was looked at on the test split is not looked at again while nothing about it has changed.
    found = next((c for c in run.cascades() if [c.small, c.large] == points), None)
    if found is None or found.margin != experiment.selection.margin:
        found = measure_cascade(*points, records=records, experiment=experiment, dataset=dataset, ingress=book.ingress)
    run.add_cascade(found)
    export_cascade(found, run, experiment=experiment, dataset=dataset)
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


def measure_cascade(
    small: FrontPoint,
    large: FrontPoint,
    *,
    records: Sequence[TrialRecord],
    experiment: Experiment,
    dataset: DatasetRecord,
    ingress: IngressProfile,
) -> Cascade:
    """Choose and measure a cascade on validation, then look at the test split once.

    Args:
        small: the cheaper point.
        large: the dearer one.
        records: the ledger.
        experiment: margin, metric, prices and seed.
        dataset: with a test split, or without one.
        ingress: what a request costs before any model.

    Raises:
        InputError: the small one is not the cheaper, or no cascade can be chosen.
    """
    _check_order(small, large)
    (truth, ours), (other_truth, theirs) = (_answers(point, records) for point in (small, large))
    if not np.array_equal(truth, other_truth):
        raise InputError("the two trials were not evaluated on the same validation rows")
    metric, cost = experiment.task.metric, experiment.cost
    found = estimate(
        ours, theirs, truth, metric=metric, margin=experiment.selection.margin, seed=experiment.search.seed
    )
    request_usd = usd_per_million(0.0, ingress.core_s_per_request, price_of(cost), utilisation=cost.utilisation)
    usd = cascade_usd(small.usd_per_million_predictions, large.usd_per_million_predictions, request_usd, found.share)
    return Cascade(
        small=small,
        large=large,
        **asdict(found),
        usd_per_million_predictions=usd,
        margin=experiment.selection.margin,
        validation_rows=len(truth),
        **_judged(small, large, found, records=records, dataset=dataset, metric=metric),
    )


def _check_order(small: FrontPoint, large: FrontPoint) -> None:
    if small.usd_per_million_predictions >= large.usd_per_million_predictions:
        raise InputError(
            f"{small.model_size} is to be asked first, and costs ${small.usd_per_million_predictions:.4g} per million; "
            f"{large.model_size} costs ${large.usd_per_million_predictions:.4g}",
            fix=f"--cascade {large.trial_id},{small.trial_id}",
        )


def export_cascade(cascade: Cascade, run: RunFolder, *, experiment: Experiment, dataset: DatasetRecord) -> None:
    """Export both checkpoints, each with its own parity check, and put them together in ``cascade/`` of the run folder.

    Raises:
        BundleError: the answers of one of them differ from its trainer's.
    """
    ledger, selection = Ledger(run.storage), run.selection()
    halves = [
        export_trial(
            ledger.ended(point.trial_id),
            experiment=experiment,
            dataset=dataset,
            selection=selection,
            target=run.storage,
            name=f"cascade-{part}",
            variant=_variant(point, ledger.records()),
        )
        for part, point in (("small", cascade.small), ("large", cascade.large))
    ]
    spec = CascadeSpec(
        small_version=halves[0].version,
        large_version=halves[1].version,
        temperature=cascade.temperature,
        threshold=cascade.threshold,
    )
    small, large = (run.storage.local_folder(f"cascade-{part}") for part in ("small", "large"))
    try:
        put_cascade(small, large, spec, run.storage, "cascade")
    finally:
        for part in ("small", "large"):
            run.storage.delete_folder(f"cascade-{part}")


def _variant(point: FrontPoint, records: Sequence[TrialRecord]) -> Variant:
    record = next(record for record in records if record.trial_id == point.trial_id)
    return next(v for v in record.variants if (v.precision, v.max_length) == (point.precision, point.max_length))


def _answers(point: FrontPoint, records: Sequence[TrialRecord]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return read_predictions(_variant(point, records).predictions_uri)


def _judged(
    small: FrontPoint,
    large: FrontPoint,
    found: CascadeEstimate,
    *,
    records: Sequence[TrialRecord],
    dataset: DatasetRecord,
    metric: str,
) -> dict[str, float | int]:
    """Test score and share, of the checkpoints with the numbers that are deployed."""
    if "test" not in dataset.splits:
        return {}
    split = load_split(dataset, "test")
    checkpoints = {record.trial_id: record.checkpoint_uri for record in records}
    ours, theirs = (answers_of(checkpoints[point.trial_id], point, split.texts) for point in (small, large))
    unsure = confidence(ours, found.temperature) < found.threshold
    task = resolve(dataset.task_kind, TASKS, where="task.kind")(dataset.labels)
    metrics = task.metrics(split.targets, np.where(unsure[:, None], theirs, ours))
    return {"test_f1": metrics[metric], "test_share": float(unsure.mean()), "test_rows": len(split)}
