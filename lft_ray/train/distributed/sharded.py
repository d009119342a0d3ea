"""Run one trial on several workers: the same training loop, on this process's Ray Train `worker_group`.

In: a `TrialJob` with ``training.workers`` > 1. Out: the `TrialResult` that rank 0 wrote. Called from a Tune trial whose
driver holds no CPU, or from any script. The training state is in the run folder, so a group whose worker died, or a
later attempt with another number of workers, resumes from the last saved state. Never trains in this process, except
for a linear model.
"""

import logging
from collections.abc import Callable
from typing import Any

from lft_ray.causes import EndCause, Fault, MachineError, cause_of_text, fault_of
from lft_ray.cluster.nodes import fleet
from lft_ray.errors import ConfigError, first_line
from lft_ray.models.sizes import find_size
from lft_ray.records import TrialResult, now_utc
from lft_ray.run.ledger import read_result
from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import STATE, noted_usage
from lft_ray.train.distributed.worker_group import GroupShape, ShutDownError, shut_down, worker_group_for
from lft_ray.train.job import TrialJob, trial_storage
from lft_ray.train.trial import failed, run_trial, try_write_result

__all__ = ["run_sharded"]

logger = logging.getLogger(__name__)


def run_sharded(job: TrialJob, report: Callable[[dict[str, Any]], None]) -> TrialResult:
    """Run a trial on ``job.training.workers`` workers, each with ``job.training.resources``.

    The workers stay up for the next trial of this process. They end with `worker_group.shut_down`, with this process,
    or after 20 idle seconds.

    Args:
        job: the trial to run. Ray must be connected, and all nodes must be able to access the run folder.
        report: as for `run_trial`; called in this process. If it raises, the trial is cancelled, but its workers stay.

    Returns:
        The result, as for `run_trial`: errors become a failed result.

    Raises:
        ShutDownError: the study is ending; the trial can be resumed.
        MachineError: a disk, the storage or a node ended the trial.
    """
    if _is_linear(job):
        # A linear model is fitted in one process; several would only repeat the same fit.
        return run_trial(job, report)
    started_at = now_utc()
    job = job.replace(run_uri=Storage(job.run_uri).uri)
    try:
        error = _run(job, report)
        result = _read_result(job)
    except _ReportError as signal:
        raise signal.error from None
    except ShutDownError:
        raise
    except Exception as failure:
        logger.exception("sharded trial %s failed", job.trial_id)
        if (fault := fault_of(failure, path=job.run_uri)) is not None and not fault.cause.is_memory:
            raise MachineError(fault) from failure
        error, result = f"{type(failure).__name__}: {failure}", _read_result(job)
    cause = cause_of_text(error)
    if result is None and cause is not EndCause.CONFIGURATION and not cause.is_memory:
        # Its group has been restarted for killed workers and for memory; a disk or a bucket is the study's affair.
        raise MachineError(Fault(cause=cause, message=first_line(Exception(error))[:300], path=job.run_uri))
    return result or _lost(job, error or "the workers ended without a result", started_at)


class _ReportError(Exception):
    """Raised when the report callback fails; wraps its error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _run(job: TrialJob, report: Callable[[dict[str, Any]], None]) -> str:
    """Run the job on this process's worker group. Returns the error, empty if there was none.

    Raises:
        _ReportError: ``report`` raised.
        Exception: the worker group could not be started.
    """

    def pass_on(point: dict[str, Any]) -> None:
        try:
            report(point)
        except Exception as error:
            raise _ReportError(error) from error

    shape = GroupShape(job.training.worker_count, float(job.training.resources.cpu), _gpu(job))
    while True:
        error = worker_group_for(shape, Storage(job.run_uri)).run(job, pass_on)
        if error is not None:
            return error
        # The group reached its idle timeout just before the job was posted: start another one.
        shut_down()


def _is_linear(job: TrialJob) -> bool:
    """Whether the job's model size is linear. The job carries the size by name only, because it crosses processes."""
    return find_size(job.models, job.config.model_size)[1].is_linear


def _gpu(job: TrialJob) -> float:
    """GPUs per worker.

    Raises:
        ConfigError: a fraction of a GPU, which collective operations between workers do not support.
    """
    gpu = job.training.resources.gpu
    if gpu == "auto":
        return float(any(node.gpus for node in fleet().nodes))
    if gpu % 1 and job.training.worker_count > 1:
        raise ConfigError(
            f"training.resources.gpu is {gpu} with {job.training.worker_count} workers: expected 0 or whole GPUs",
            fix="--set training.workers=1, or --set training.resources.gpu=1",
        )
    return float(gpu)


def _read_result(job: TrialJob) -> TrialResult | None:
    return read_result(Storage(job.run_uri), job.trial_id, job.attempt)


def _lost(job: TrialJob, reason: str, started_at: str) -> TrialResult:
    """Failed result for workers that ended without one, with the usage they recorded while running."""
    spent = noted_usage(trial_storage(job).child(STATE))
    result = failed(job, reason, started_at=started_at, usage=spent)
    try_write_result(job, result)
    return result
