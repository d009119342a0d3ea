"""What each worker of a gang runs: job after job, as one of several processes. In: a mailbox. Ray Train calls it.

The process group, the imports, the base weights and the token maps stay; what a job made goes with it. An error that
all workers meet (bad input) is a result. Any other may have left somebody in an exchange: then the group starts again.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

from lft_ray.errors import LftError
from lft_ray.run.storage import Storage
from lft_ray.train.device.memory import is_out_of_memory
from lft_ray.train.distributed.mailbox import Command, Order
from lft_ray.train.distributed.placement_groups import note_held
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import execute, failed, release, trial_meter, try_write_result

__all__ = ["work"]

ASK_S = 20.0
LOOK_S = 0.1
"""Least seconds between two looks whether the job was cancelled: each costs 0.1 ms."""


def work(config: dict[str, Any]) -> None:
    """Take jobs until there are no more.

    Args:
        config: ``mailbox``: handle of the gang's `Mailbox` actor; ``folder``: where it leaves word of what it holds.
    """
    import ray

    from lft_ray.train.device.process_group import current_group

    mailbox, group = config["mailbox"], current_group()
    if group.leads:
        note_held(Storage(config["folder"]))
    name, done = group.from_lead(uuid.uuid4().hex), 0
    while True:
        try:
            order = Order(*ray.get(mailbox.take.remote(name, group.rank, done, ASK_S)))
        except ray.exceptions.RayActorError:
            return  # the owner is gone, and its mailbox with it
        match order.command:
            case Command.POLL:
                continue
            case Command.SHUTDOWN:
                return
            case Command.RESTART:
                raise RuntimeError("a worker does not come back from a job that another one gave up")
            case Command.RUN:
                _run(mailbox, order, group.rank, is_first=done == 0)
                done = order.number


def _run(mailbox: Any, order: Order, rank: int, *, is_first: bool) -> None:
    import ray

    job = TrialJob.model_validate_json(order.payload)

    def report(point: dict[str, Any]) -> None:
        ray.get(mailbox.point.remote(order.number, point))

    # The imports of a process are the expense of the first job that it runs.
    meter = trial_meter(job, whole_process=is_first)
    try:
        execute(job, report, meter, _cancelled(mailbox, order.number) if rank == 0 else None)
    except LftError as error:
        # All workers meet the same bad input, and so would a second group: this is a result, not a lost worker.
        if rank == 0:
            try_write_result(job, failed(job, str(error), usage=meter.own()))
        ray.get(mailbox.ended.remote(order.number, rank, str(error)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        may_retry = is_out_of_memory(error)
        ray.get(mailbox.ended.remote(order.number, rank, reason, is_lost=True, may_retry=may_retry))
        raise
    else:
        ray.get(mailbox.ended.remote(order.number, rank))
    finally:
        release()


def _cancelled(mailbox: Any, number: int) -> Callable[[], bool]:
    """Whether the owner wants this job to end; cheap enough to be asked at every step."""
    import ray

    answer = mailbox.cancelled.remote(number)
    looked_at, is_cancelled = time.monotonic(), False

    def look() -> bool:
        nonlocal looked_at, is_cancelled
        now = time.monotonic()
        if not is_cancelled and now - looked_at >= LOOK_S:
            looked_at = now
            is_cancelled = bool(ray.wait([answer], timeout=0)[0])
        return is_cancelled

    return look
