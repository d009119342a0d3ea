"""Wait for a replica as long as its machine is still working on it. In: a condition. Out: whether it came to hold.

On a machine that is busy with other work everything takes many times as long, and a limit in seconds gives up on a
replica that would have come. Seconds of processor time tell slow from stuck.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from lft_ray.serve.waiting import wait_until

__all__ = ["descendants_cpu_s", "wait_while_moving"]

MOST_ROUNDS = 5
BUSY_CORES = 0.2
"""Processor seconds per second, of all processes of the cluster, above which something is under way. One that only
waits uses about 0.1: its controller, GCS and agents."""


def wait_while_moving(
    condition: Callable[[], bool],
    *,
    timeout_s: float,
    cpu_s: Callable[[], float] | None = None,
) -> bool:
    """Wait ``timeout_s``, and as long again while the cluster is busy, `MOST_ROUNDS` times at most.

    Args:
        condition: see `wait_until`.
        timeout_s: seconds of one round.
        cpu_s: processor seconds so far of what is waited for; default: of all descendants of this process.
    """
    measure = cpu_s or descendants_cpu_s
    for _ in range(MOST_ROUNDS):
        begun, before = time.monotonic(), measure()
        if wait_until(condition, timeout_s=timeout_s):
            return True
        if measure() - before < BUSY_CORES * (time.monotonic() - begun):
            return False
    return False


def descendants_cpu_s() -> float:
    """Processor seconds so far of all living descendants of this process."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
