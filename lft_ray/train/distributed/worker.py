"""Main loop of each worker of a worker group, called by Ray Train. In: a mailbox. Out: one executed job after another.

The process group, imports, base weights and token maps stay in the process between jobs; everything else is released
with the job. An error that all workers raise (bad input) becomes a result. Any other error may leave workers waiting in
a collective operation, so the group is restarted. Never decides which job is next.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

from lft_ray.errors import LftError
from lft_ray.run.storage import Storage
from lft_ray.train.device.memory import is_out_of_memory
from lft_ray.train.distributed.mailbox import Command, Instruction
from lft_ray.train.distributed.placement_groups import record_placement_group
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import execute, failed, release, trial_meter, try_write_result

__all__ = ["work"]

POLL_S = 20.0
CANCEL_CHECK_S = 0.1
"""Minimum seconds between two checks for cancellation; each costs 0.1 ms."""


def work(config: dict[str, Any]) -> None:
    """Run jobs from the mailbox until it says to shut down.

    Args:
        config: ``mailbox``: handle of the group's `Mailbox` actor; ``folder``: URI of the group's folder, where rank 0
            records its placement group.
    """
    import ray

    from lft_ray.train.device.process_group import current_group

    mailbox, group = config["mailbox"], current_group()
    if group.is_lead:
        record_placement_group(Storage(config["folder"]))
    # A fresh name per incarnation of the group: it is how the mailbox notices that Ray Train restarted the workers.
    name, done = group.broadcast(uuid.uuid4().hex), 0
    while True:
        try:
            instruction = Instruction(*ray.get(mailbox.take.remote(name, group.rank, done, POLL_S)))
        except ray.exceptions.RayActorError:
            return  # the owner has exited, and the mailbox with it
        match instruction.command:
            case Command.POLL:
                continue
            case Command.SHUTDOWN:
                return
            case Command.RESTART:
                raise RuntimeError("a worker hangs in a job that another worker gave up")
            case Command.RUN:
                _run(mailbox, instruction, group.rank, is_first=done == 0)
                done = instruction.number


def _run(mailbox: Any, instruction: Instruction, rank: int, *, is_first: bool) -> None:
    import ray

    job = TrialJob.model_validate_json(instruction.payload)

    def report(point: dict[str, Any]) -> None:
        ray.get(mailbox.add_point.remote(instruction.number, point))

    # The first job of a process pays for the process's imports.
    meter = trial_meter(job, whole_process=is_first)
    try:
        execute(job, report, meter, _cancelled(mailbox, instruction.number) if rank == 0 else None)
    except LftError as error:
        # All workers raise this error, and so would a restarted group: it is a result, not a lost worker.
        if rank == 0:
            try_write_result(job, failed(job, str(error), usage=meter.own()))
        ray.get(mailbox.ended.remote(instruction.number, rank, str(error)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        may_retry = is_out_of_memory(error)
        ray.get(mailbox.ended.remote(instruction.number, rank, reason, is_lost=True, may_retry=may_retry))
        raise
    else:
        ray.get(mailbox.ended.remote(instruction.number, rank))
    finally:
        release()


def _cancelled(mailbox: Any, number: int) -> Callable[[], bool]:
    """Predicate that tells whether the owner has cancelled this job; cheap enough to call at every step."""
    import ray

    # One pending call for the whole job: it returns when the job is cancelled.
    cancellation = mailbox.cancelled.remote(number)
    checked_at, is_cancelled = time.monotonic(), False

    def check() -> bool:
        nonlocal checked_at, is_cancelled
        now = time.monotonic()
        if not is_cancelled and now - checked_at >= CANCEL_CHECK_S:
            checked_at = now
            is_cancelled = bool(ray.wait([cancellation], timeout=0)[0])
        return is_cancelled

    return check
