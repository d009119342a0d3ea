"""Wait for a replica as long as its machine is still working on it. In: a condition. Out: whether it came to hold.

On a machine that is busy with other work everything takes many times as long, and a limit in seconds gives up on a
replica that would have come. Seconds of processor time tell slow from stuck.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil

from lft_ray.serve.waiting import wait_until

__all__ = ["Patience", "cpu_s_below", "wait_while_moving"]

ResultT = TypeVar("ResultT")
MOST_ROUNDS = 5
BUSY_CORES = 0.2
"""Processor seconds per second, of all processes of the cluster, above which something is under way. One that only
waits uses about 0.1: its controller, GCS and agents."""


class Patience:
    """A limit of time that is renewed while something moves, `MOST_ROUNDS` times in all.

    Args:
        timeout_s: seconds of one round.
        cpu_s: processor seconds so far of what is waited for; default: of all descendants of this process.
    """

    def __init__(self, timeout_s: float, cpu_s: Callable[[], float] | None = None) -> None:
        self._timeout_s, self._cpu_s = timeout_s, cpu_s or cpu_s_below
        self._rounds = 0
        self._first_at = time.monotonic()
        self._begin()

    @property
    def waited_s(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._first_at

    def is_over(self) -> bool:
        """Whether the time is up, and nothing moved in the last round or there was no other one left."""
        passed_s = time.monotonic() - self._began_at
        if passed_s < self._timeout_s:
            return False
        if self._rounds >= MOST_ROUNDS or self._cpu_s() - self._before < BUSY_CORES * passed_s:
            return True
        self._begin()
        return False

    def _begin(self) -> None:
        self._rounds += 1
        self._began_at, self._before = time.monotonic(), self._cpu_s()


def wait_while_moving(
    condition: Callable[[], ResultT],
    *,
    timeout_s: float,
    cpu_s: Callable[[], float] | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> ResultT | None:
    """Wait ``timeout_s``, and as long again while the cluster is busy, `MOST_ROUNDS` times at most.

    Args:
        condition: see `wait_until`.
        timeout_s: seconds of one round.
        cpu_s: processor seconds so far of what is waited for; default: of all descendants of this process.
        give_up: called before each pause; True ends the wait at once.

    Returns:
        The first truthy result; None after the time or where ``give_up`` returned True.
    """
    patience = Patience(timeout_s, cpu_s)
    return wait_until(condition, timeout_s=float("inf"), give_up=lambda: give_up() or patience.is_over())


def cpu_s_below(pid: int | None = None) -> float:
    """Processor seconds so far of all descendants of a process, those that have ended included; None: of this one."""
    total = 0.0
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                times = process.cpu_times()
                # What has ended counts in its parent, so that the sum does not fall.
                total += times.user + times.system + times.children_user + times.children_system
    return total
