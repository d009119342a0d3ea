"""Run one trial, from configuration to result. In: a `TrialJob`. Out: a `TrialResult`, also as JSON in the run folder.

A warm worker calls this many times. Light to import: torch is imported when a trial runs. Never raises for an error of
the trial itself, but always for trouble of the machine, of which it writes nothing down. Never prices, never talks to
Ray.
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

from lft_ray.causes import EndCause, MachineError, fault_of
from lft_ray.errors import RunGoneError
from lft_ray.models.sizes import find_size
from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.run.ledger import put_result
from lft_ray.tasks.find import make_task
from lft_ray.train.device.memory import cap_memory
from lft_ray.train.device.meter import Meter, UsageLimit, add_usage
from lft_ray.train.device.usage_notes import STATE
from lft_ray.train.job import Outcome, Report, TrialJob, run_storage, trial_device, trial_storage

__all__ = ["execute", "failed", "release", "run_trial", "trial_meter", "try_write_result"]

logger = logging.getLogger(__name__)


def run_trial(job: TrialJob, report: Report) -> TrialResult:
    """Train, evaluate, save, and write ``result-<attempt>.json``; then return the result.

    Args:
        job: the trial to run.
        report: called with the fields of each new `CurvePoint` of the learning curve. The point
            at fraction 1 is reported after the result is written. After a resume, points may be reported again.

    Returns:
        The result: done, stopped (deadline or allowance), infeasible (not finite, or out of memory), or failed with the
        error's text.

    Raises:
        MachineError: a disk, the storage or the memory ended the trial, which says nothing about its configuration. No
            result is written, so the trial can be run again, from its last saved state.
    """
    started_at, meter = now_utc(), trial_meter(job)
    try:
        return execute(job, report, meter)
    except Exception as error:
        logger.exception("trial %s failed", job.trial_id)
        if (fault := fault_of(error, path=job.run_uri)) is not None:
            raise MachineError(fault) from error
        spent = add_usage(meter.carried, meter.own())
        result = failed(job, f"{type(error).__name__}: {error}", started_at=started_at, usage=spent)
    finally:
        release()
    try_write_result(job, result)
    return result


def execute(job: TrialJob, report: Report, meter: Meter, is_cancelled: Callable[[], bool] | None = None) -> TrialResult:
    """Run a trial like `run_trial`, but let errors propagate. Every process of a sharded trial calls this.

    With several processes only rank 0 reports and writes, but all return the result.

    Args:
        job: the trial to run.
        report: as for `run_trial`.
        meter: meter created when the trial began.
        is_cancelled: called at every step; once it returns True the trial ends and writes no result, because the owner
            no longer waits for one.
    """
    import torch

    from lft_ray.train.device.process_group import current_group

    started_at = now_utc()
    is_lead = current_group().is_lead
    torch.set_num_threads(max(1, int(job.training.resources.cpu)))
    cap_memory(trial_device(job), job.training.resources.gpu)
    last: list[dict[str, Any]] = []

    def pass_on(point: CurvePoint) -> None:
        plain = point.model_dump()
        # The last point is held back until the result is written, since its receiver may treat the trial as finished.
        if point.fraction < 1.0:
            report(plain)
        else:
            last.append(plain)

    cancelled = is_cancelled or (lambda: False)
    outcome = _train(job, meter, pass_on, cancelled)
    result = _result(job, outcome, started_at)
    if is_lead and not (outcome.status is TrialStatus.STOPPED and cancelled()):
        if _write_result(job, result):
            trial_storage(job).delete_folder(STATE)
        for point in last:
            report(point)
    return result


def failed(job: TrialJob, reason: str, *, started_at: str = "", usage: Usage | None = None) -> TrialResult:
    """Result of a trial that failed with an error."""
    result = _result(job, Outcome(TrialStatus.FAILED, reason, usage=usage or Usage()), started_at)
    return result.replace(cause=EndCause.CONFIGURATION)


def try_write_result(job: TrialJob, result: TrialResult) -> None:
    """Write a failed result if storage is writable; often the trial failed because it is not."""
    try:
        _write_result(job, result)
    except (OSError, RunGoneError):
        logger.exception("the result of trial %s could not be written", job.trial_id)


def trial_meter(job: TrialJob, *, whole_process: bool = False) -> Meter:
    """Meter for the device of this trial, starting now (or, for ``whole_process``, when the process started)."""
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
        note=outcome.note,
        checkpoint_uri=outcome.checkpoint_uri,
        checkpoint_sha256=outcome.checkpoint_sha256,
        node=job.node or socket.gethostname(),
        started_at=started_at,
    )


def _write_result(job: TrialJob, result: TrialResult) -> bool:
    """Write the result unless a later attempt has started, to which the trial's state then belongs."""
    written = put_result(run_storage(job), result)
    if not written:
        logger.warning("attempt %d of trial %s writes no result: a later one has started", job.attempt, job.trial_id)
    return written


def _train(
    job: TrialJob, meter: Meter, report: Callable[[CurvePoint], None], is_cancelled: Callable[[], bool]
) -> Outcome:
    """Train the network or the linear model of the job.

    A job crosses processes and carries names only, so task and model size are resolved here, in the process that
    trains.
    """
    task = make_task(job.task_kind, job.facts)
    size = find_size(job.models, job.config.model_size)[1]
    if size.is_linear:
        from lft_ray.train.linear import run_linear

        return run_linear(job, task, meter, report, family=size.family)
    from lft_ray.train.network import run_network

    usage_limit = UsageLimit(meter, job.allowance, processes=job.training.worker_count)

    def should_stop() -> bool:
        return is_cancelled() or usage_limit.is_over() or (job.deadline is not None and time.time() >= job.deadline)

    outcome = run_network(job, task, meter, report, should_stop)
    if outcome.status is TrialStatus.STOPPED and usage_limit.was_over:
        return replace(outcome, reason="stopped at the usage limit: the worst case reserved for it in the budget")
    return outcome


def release() -> None:
    """Free memory for the next trial of this warm worker; reference cycles keep whole networks alive."""
    import torch

    gc.collect()
    with suppress(OSError, AttributeError):
        # glibc holds on to freed memory between blocks in use: 0.93 GB after a trial of six layers, 0.54 GB with this.
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
