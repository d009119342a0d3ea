"""ONE trial from configuration to result. In: a `TrialJob`. Out: a `TrialResult`, also as JSON in the run folder.

Called many times in one warm worker. Light to import: torch loads when a trial runs. Never
raises for what a trial does wrong, never prices, never talks to Ray.
"""

import ctypes
import gc
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lft_ray.models.sizes import find_size
from lft_ray.plugins import resolve
from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.tasks import TASKS
from lft_ray.train.device.memory import cap_memory
from lft_ray.train.device.meter import Meter, UsageLimit, add_usage
from lft_ray.train.device.usage_notes import STATE
from lft_ray.train.job import Outcome, Report, TrialJob, result_name, trial_device, trial_storage

__all__ = ["execute", "failed", "release", "run_trial", "trial_meter", "try_write_result"]

logger = logging.getLogger(__name__)


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

    from lft_ray.train.device.process_group import current_group

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


def try_write_result(job: TrialJob, result: TrialResult) -> None:
    """Put a failed result on storage if it can be written to: that it cannot is often what failed the trial."""
    try:
        _write_result(job, result)
    except OSError:
        logger.exception("the result of trial %s could not be written", job.trial_id)


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
    """Train the network or the linear model that the job names.

    A job crosses processes, so task and size are made of its names here, in the process that trains.
    """
    task = resolve(job.task_kind, TASKS, where="task.kind")(job.labels)
    if find_size(job.models, job.config.model_size)[1].is_linear:
        from lft_ray.train.linear import run_linear

        return run_linear(job, task, meter, report)
    from lft_ray.train.network import run_neural

    usage_limit = UsageLimit(meter, job.allowance, processes=job.training.worker_count)

    def should_stop() -> bool:
        return is_cancelled() or usage_limit.is_over() or (job.deadline is not None and time.time() >= job.deadline)

    outcome = run_neural(job, task, meter, report, should_stop)
    if outcome.status is TrialStatus.STOPPED and usage_limit.was_over:
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
