"""The processes a supervisor started: keep them findable, and end exactly them. Linux and macOS."""

import ctypes
import sys
from collections.abc import Iterable
from contextlib import suppress

import psutil

from lft_ray.processes import ProcessIdentity, alive, identity_of

__all__ = ["adopt_orphans", "descendants", "end", "end_leftovers", "has_core", "identities"]

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can hide from `descendants`."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[psutil.Process]:
    """All processes below this one, zombies left out."""
    with suppress(psutil.Error):
        return [p for p in psutil.Process().children(recursive=True) if identity_of(p.pid) is not None]
    return []


def has_core(processes: Iterable[psutil.Process]) -> bool:
    """Whether Ray's two core processes are among them: without either the cluster is gone."""
    names = set()
    for process in processes:
        with suppress(psutil.Error):
            names.add(process.name())
    return {"raylet", "gcs_server"} <= names


def identities(processes: Iterable[psutil.Process]) -> list[ProcessIdentity]:
    """What tells each process that still lives from a later one with the same id."""
    found = (identity_of(process.pid) for process in processes)
    return [identity for identity in found if identity is not None]


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


def end_leftovers(known: Iterable[ProcessIdentity], folder: str) -> None:
    """End what a supervisor that was killed left behind.

    Args:
        known: the processes that it had noted.
        folder: the endpoint's private folder. HAProxy is started anew at each change of replicas, perhaps after the
            last note of its id, but its command line always names a file in there.
    """
    inside = f"{folder.rstrip('/')}/"
    left = {identity.pid for identity in known if alive(identity)}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid in left or (len(inside) > 1 and any(inside in word for word in process.cmdline())):
                found.append(process)
    end(found, timeout_s=5.0)
