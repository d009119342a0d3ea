"""Train a model without a network, such as TF-IDF: one fit, one curve point. In: a `TrialJob`. Out: an `Outcome`."""

import uuid
from collections.abc import Callable

import numpy as np

from lft_ray.data.store import load_split
from lft_ray.models.floors import floor_model
from lft_ray.models.words import MAX_WORDS
from lft_ray.records import CurvePoint, TrialStatus, Usage
from lft_ray.run.checksums import Stored, StoredFolder
from lft_ray.tasks.base import Task
from lft_ray.train.artifacts import attempt_name, put_checkpoint, put_predictions, variant
from lft_ray.train.device.meter import Meter, add_usage
from lft_ray.train.device.process_group import current_group
from lft_ray.train.device.usage_notes import STATE, noted_usage, noting
from lft_ray.train.job import Outcome, TrialJob, trial_storage
from lft_ray.train.loop.evaluate import score

__all__ = ["run_linear"]

PRECISION = "fp32"
"""The only precision in which a linear model is served."""


def run_linear(
    job: TrialJob, task: Task, meter: Meter, report: Callable[[CurvePoint], None], *, family: str
) -> Outcome:
    """Fit, score and save. Deadlines are not checked, since a fit takes seconds."""
    train, validation = load_split(job.dataset, "train"), load_split(job.dataset, "validation")
    # The length of the variant that is priced and served, not of the networks.
    length = max(job.max_lengths, default=MAX_WORDS)
    state = trial_storage(job).child(STATE)
    meter.carried = noted_usage(state) or Usage()
    with noting(state, f"{job.attempt}-{uuid.uuid4().hex[:8]}", meter.own), meter.training():
        model = floor_model(family).fit(train.texts, train.targets, task, job.config.seed, max_length=length)
    with meter.evaluating():
        logits = np.asarray(model.logits(validation.texts), np.float32)
        scores = score(task, validation.targets, logits)
    point = CurvePoint(
        fraction=1.0,
        f1=scores.metrics[job.metric],
        loss=scores.loss,
        train_s=meter.wall_without_eval_s,
        step=1,
        core_s=add_usage(meter.carried, meter.own()).core_s,
    )
    report(point)
    stored, checkpoint = Stored("", ""), StoredFolder("", {})
    if current_group().is_lead:
        storage = trial_storage(job)
        name = f"{attempt_name('predictions', job.attempt)}/{PRECISION}-{length}.parquet"
        stored = put_predictions(storage, name, validation.row_ids, validation.targets, logits)
        checkpoint = put_checkpoint(storage, job.attempt, model.save)
    only = variant(PRECISION, length, scores.metrics, metric=job.metric, predictions=stored)
    return Outcome(TrialStatus.DONE, "", [point], add_usage(meter.carried, meter.own()), [only], *checkpoint)
