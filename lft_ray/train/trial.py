"""ONE trial from configuration to result. In: a `TrialJob`. Out: a `TrialResult`, also as JSON in the run folder.

Called many times in one warm worker. Light to import (the search names its types): torch loads when a trial runs. Never
raises for what a trial does wrong, never prices, never talks to Ray.
"""

import ctypes
import gc
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import Field

from lft_ray.config import Experiment, ModelSpec, Precision, TrainingSpec
from lft_ray.ledger import Allowance
from lft_ray.plugins import resolve
from lft_ray.records import (
    CurvePoint,
    DatasetRecord,
    Record,
    TrialConfig,
    TrialResult,
    TrialStatus,
    Usage,
    Variant,
    now_utc,
)
from lft_ray.storage import Storage
from lft_ray.tasks import TASKS
from lft_ray.train.meter import Meter, Thrift, add_usage
from lft_ray.train.notes import STATE

__all__ = [
    "Outcome",
    "TrialJob",
    "execute",
    "failed",
    "release",
    "result_name",
    "run_trial",
    "trial_device",
    "trial_meter",
    "trial_storage",
    "try_write_result",
]

logger = logging.getLogger(__name__)
Report = Callable[[dict[str, Any]], None]


class TrialJob(Record):
    """All that a worker needs to run one trial; JSON and pickle."""

    trial_id: str
    attempt: int = 1
    """Counted from 1. Files of one attempt never overwrite those of another."""
    config: TrialConfig
    models: list[ModelSpec]
    """The models part of the experiment: ``config.model_size`` is one of its sizes."""
    task_kind: str
    labels: list[str]
    metric: str = "macro_f1"
    """Key of the task's metrics that is the trial's F1."""
    dataset: DatasetRecord
    training: TrainingSpec
    run_uri: str
    precisions: list[Precision] = Field(default=["fp32"], min_length=1)
    """Serving precisions that the trained checkpoint is evaluated at."""
    max_lengths: list[int] = Field(default_factory=list)
    """Lengths in tokens that it is evaluated at beside ``config.max_length``, none of them longer."""
    deadline: float | None = None
    """Seconds since the epoch; a trial that still runs then ends as stopped."""
    allowance: Allowance | None = None
    """What it may use up, earlier attempts counted: before it uses more it ends as stopped. None: no limit."""
    role: Literal["search", "confirm"] = "search"
    node: str = ""
    """Where it runs, for the record; the host's name when left empty."""

    @classmethod
    def of(cls, experiment: Experiment, dataset: DatasetRecord, run_uri: str, **own: Any) -> "TrialJob":
        """A trial of an experiment.

        Args:
            experiment: models, task, training and precisions.
            dataset: prepared; what only profiles and the data card need of it does not travel with every trial.
            run_uri: run folder.
            own: what this trial has beside or in place of that; without id and configuration it is a template.
        """
        shared = {
            "trial_id": "",
            "config": TrialConfig(model_size=""),
            "models": experiment.models,
            "task_kind": experiment.task.kind,
            "labels": dataset.labels,
            "metric": experiment.task.metric,
            "dataset": dataset.model_copy(update={"sample_texts": [], "problems": []}),
            "training": experiment.training,
            "run_uri": run_uri,
            "precisions": experiment.export.precisions,
        }
        return cls(**shared | own)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training came to, before it is dressed as a `TrialResult`. ``usage`` counts earlier attempts too."""

    status: TrialStatus
    reason: str = ""
    curve: list[CurvePoint] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    variants: list[Variant] = field(default_factory=list)
    checkpoint_uri: str = ""


def run_trial(job: TrialJob, report: Report) -> TrialResult:
    """Train, evaluate, save, and write ``result-<attempt>.json``; then return it.

    Args:
        job: what to run.
        report: called with ``{"fraction", "f1", "loss", "train_s", "step"}`` for each new point of the curve. The point
            at fraction 1 comes after the result is written. After a resume a fraction may come again.

    Returns:
        The result: done, stopped (deadline), infeasible (not finite), or failed with the error's text. Only
        KeyboardInterrupt and SystemExit are raised.
    """
    started_at, meter = now_utc(), trial_meter(job)
    try:
        return execute(job, report, meter)
    except Exception as error:
        logger.exception("trial %s failed", job.trial_id)
        spent = add_usage(meter.carried, meter.own())
        result = failed(job, f"{type(error).__name__}: {error}", started_at=started_at, usage=spent)
    finally:
        release()
    try_write_result(job, result)
    return result


def execute(job: TrialJob, report: Report, meter: Meter, is_cancelled: Callable[[], bool] | None = None) -> TrialResult:
    """Do what `run_trial` does, but raise whatever goes wrong. Every process of a sharded trial calls this.

    With several processes only rank 0 reports and writes; all return the result. ``meter``: made when the trial began.
    ``is_cancelled``: asked at every step; once true the trial ends, and writes no result, for nobody waits for it.
    """
    import torch

    from lft_ray.train.group import current_group
    from lft_ray.train.memory import cap_memory

    started_at = now_utc()
    leads = current_group().leads
    torch.set_num_threads(max(1, int(job.training.resources.cpu)))
    cap_memory(trial_device(job), job.training.resources.gpu)
    last: list[dict[str, Any]] = []

    def pass_on(point: CurvePoint) -> None:
        plain = point.model_dump(include={"fraction", "f1", "loss", "train_s", "step"})
        # The last point waits: whoever hears it may take the trial for finished, so its result must be on storage.
        if point.fraction < 1.0:
            report(plain)
        else:
            last.append(plain)

    cancelled = is_cancelled or (lambda: False)
    outcome = _train(job, meter, pass_on, cancelled)
    result = _result(job, outcome, started_at)
    if leads and not (outcome.status is TrialStatus.STOPPED and cancelled()):
        _write_result(job, result)
        trial_storage(job).delete_folder(STATE)
        for point in last:
            report(point)
    return result


def failed(job: TrialJob, reason: str, *, started_at: str = "", usage: Usage | None = None) -> TrialResult:
    """The result of a trial that an error ended."""
    return _result(job, Outcome(TrialStatus.FAILED, reason, usage=usage or Usage()), started_at)


def result_name(attempt: int) -> str:
    """File name of an attempt's result in the trial's folder."""
    return f"result-{attempt}.json"


def trial_storage(job: TrialJob) -> Storage:
    """The trial's folder in the run folder."""
    return Storage(job.run_uri).child("trials", job.trial_id)


def try_write_result(job: TrialJob, result: TrialResult) -> None:
    """Put a failed result on storage if it can be written to: that it cannot is often what failed the trial."""
    try:
        _write_result(job, result)
    except OSError:
        logger.exception("the result of trial %s could not be written", job.trial_id)


def trial_device(job: TrialJob) -> str:
    """The GPU that Ray (or the user) gave this process, else the processor."""
    import torch

    if job.training.resources.gpu == 0 or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"


def trial_meter(job: TrialJob, *, whole_process: bool = False) -> Meter:
    """A meter that runs from now on (or since the process began), for the device this trial will use."""
    share = job.training.resources.gpu
    return Meter(trial_device(job), 1.0 if share == "auto" else float(share), whole_process=whole_process)


def _result(job: TrialJob, outcome: Outcome, started_at: str) -> TrialResult:
    return TrialResult(
        trial_id=job.trial_id,
        attempt=job.attempt,
        config=job.config,
        status=outcome.status,
        reason=outcome.reason,
        curve=outcome.curve,
        usage=outcome.usage,
        variants=outcome.variants,
        checkpoint_uri=outcome.checkpoint_uri,
        node=job.node or socket.gethostname(),
        started_at=started_at,
    )


def _write_result(job: TrialJob, result: TrialResult) -> None:
    trial_storage(job).put(result_name(job.attempt), result.model_dump_json(indent=1))


def _train(
    job: TrialJob, meter: Meter, report: Callable[[CurvePoint], None], is_cancelled: Callable[[], bool]
) -> Outcome:
    from lft_ray.models.base import find_size

    task = resolve(job.task_kind, TASKS, where="task.kind")(job.labels)
    if find_size(job.models, job.config.model_size)[1].is_linear:
        from lft_ray.train.linear import run_linear

        return run_linear(job, task, meter, report)
    from lft_ray.train.neural import run_neural

    thrift = Thrift(meter, job.allowance, processes=job.training.worker_count)

    def should_stop() -> bool:
        return is_cancelled() or thrift.is_over() or (job.deadline is not None and time.time() >= job.deadline)

    outcome = run_neural(job, task, meter, report, should_stop)
    if outcome.status is TrialStatus.STOPPED and thrift.was_over:
        return replace(outcome, reason="it used up the worst case that it was promised of the budget")
    return outcome


def release() -> None:
    """Give memory back: the next trial of this warm worker needs it, and reference cycles hold whole networks."""
    import torch

    gc.collect()
    with suppress(OSError, AttributeError):
        # glibc keeps what is freed between blocks in use: 0.93 GB after a trial of six layers, 0.54 GB with this.
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
