"""The processes a supervisor started: keep them findable, and end exactly them. Linux and macOS."""

import ctypes
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil

__all__ = ["adopt_orphans", "descendants", "end", "end_leftovers", "has_core", "started_at"]

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can hide from `descendants`."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[psutil.Process]:
    """All processes below this one, zombies left out."""
    with suppress(psutil.Error):
        return [p for p in psutil.Process().children(recursive=True) if _lives(p)]
    return []


def has_core(processes: Iterable[psutil.Process]) -> bool:
    """Whether Ray's two core processes are among them: without either the cluster is gone."""
    names = set()
    for process in processes:
        with suppress(psutil.Error):
            names.add(process.name())
    return {"raylet", "gcs_server"} <= names


def started_at(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Start times by process id: what tells a process from a later one with the same id."""
    found = {}
    for process in processes:
        with suppress(psutil.Error):
            found[process.pid] = float(process.create_time())
    return found


def end(processes: Iterable[psutil.Process], *, timeout_s: float) -> None:
    """SIGTERM, then SIGKILL for those that stay."""
    found = list(processes)
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=timeout_s)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def end_leftovers(started_at: Mapping[int, float], folder: str) -> None:
    """End what a supervisor that was killed left behind.

    Args:
        started_at: process id -> start time; a process that started at another time only reuses the id.
        folder: the endpoint's private folder. HAProxy is started anew at each change of replicas, perhaps after the
            last note of its id, but its command line always names a file in there.
    """
    inside = f"{folder.rstrip('/')}/"
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            known = abs(process.create_time() - started_at.get(process.pid, 0.0)) < 1.0
            if known or (len(inside) > 1 and any(inside in word for word in process.cmdline())):
                found.append(process)
    end(found, timeout_s=5.0)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
