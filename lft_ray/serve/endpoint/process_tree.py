"""The process tree of a supervisor: find its processes, and terminate exactly those. Linux and macOS.

In: this process, or the recorded identities of an earlier tree. Out: processes and their identities. Never terminates a
process by its id alone, which may have been reused.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

import psutil

from lft_ray.processes import ProcessIdentity, alive, identity_of

__all__ = [
    "CORE",
    "adopt_orphans",
    "core",
    "descendants",
    "end",
    "end_all",
    "end_all_but_raylet",
    "end_leftovers",
    "end_with_parent",
    "identities",
    "named",
    "reap_zombies",
]

CORE = ("raylet", "gcs_server")
"""Names of Ray's core processes."""
AGENTS = {"ray::DashboardAgent": "dashboard agent", "ray::RuntimeEnvAgent": "runtime environment agent"}
"""Names of the raylet's agents, and what they are called in messages."""
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
"""Options of Linux' prctl(2)."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that `descendants` finds all of them."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(number: int) -> None:
    """Receive this signal when the parent of this process dies."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def reap_zombies(keep: Iterable[int] = ()) -> None:
    """Collect adopted descendants that have exited.

    Args:
        keep: process ids of children that somebody else waits for.
    """
    kept = set(keep)
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            with suppress(psutil.Error, ChildProcessError):
                if child.pid not in kept and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def end_all(first: Iterable[str] = (), *, keep: int = 0, timeout_s: float = 5.0) -> None:
    """Terminate every descendant of this process, also those that others start meanwhile.

    Args:
        first: names of processes that are killed before the others, because they start new ones.
        keep: process id of a descendant that stays.
        timeout_s: seconds until those alive are killed.
    """
    names = set(first)
    for _ in range(5):
        found = [process for process in descendants() if process.pid != keep]
        if not found:
            return
        for process in found:
            with suppress(psutil.Error):
                if process.name() in names:
                    process.kill()
        end(found, timeout_s=timeout_s)
        reap_zombies()


def descendants() -> list[psutil.Process]:
    """All descendants of this process, without zombies."""
    with suppress(psutil.Error):
        return [p for p in psutil.Process().children(recursive=True) if identity_of(p.pid) is not None]
    return []


def core(processes: Iterable[psutil.Process]) -> list[tuple[str, ProcessIdentity]]:
    """Name and identity of the processes without any of which the cluster is gone; empty unless Ray's core is there.

    A raylet whose agent has died ends itself, but takes its time: HAProxy and the replicas went first, and on a busy
    machine it lived on for more than 30 s.
    """
    found: dict[str, ProcessIdentity] = {}
    for process in processes:
        with suppress(psutil.Error):
            name = process.name()
            if (name in CORE or name in AGENTS) and (identity := identity_of(process.pid)) is not None:
                found[AGENTS.get(name, name)] = identity
    return list(found.items()) if all(name in found for name in CORE) else []


def named(processes: Iterable[psutil.Process], name: str) -> list[psutil.Process]:
    """Those processes that have this name."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            if process.name() == name:
                found.append(process)
    return found


def identities(processes: Iterable[psutil.Process]) -> list[ProcessIdentity]:
    """Identity of each process that is alive, which a later process with the same id does not match."""
    found = (identity_of(process.pid) for process in processes)
    return [identity for identity in found if identity is not None]


def end(processes: Iterable[psutil.Process], *, timeout_s: float) -> None:
    """Terminate processes: SIGTERM, then SIGKILL for those alive after ``timeout_s`` seconds."""
    targets = list(processes)
    for process in targets:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(targets, timeout=timeout_s)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def end_all_but_raylet(known: Iterable[ProcessIdentity], folder: str) -> list[psutil.Process]:
    """End the processes of an endpoint from a process that is connected to Ray, and dies as soon as the raylet does.

    Args:
        known: processes of the endpoint, as recorded.
        folder: private folder of the endpoint.

    Returns:
        The raylet, frozen, so that it neither starts nor notices anything. The caller kills it last of all.
    """
    frozen = named(descendants(), "raylet")
    for process in frozen:
        with suppress(psutil.Error):
            process.suspend()
    for process in descendants():
        with suppress(psutil.Error):
            if process not in frozen:
                process.kill()
    end_leftovers(known, folder, keep=[os.getpid(), *(process.pid for process in frozen)])
    return frozen


def end_leftovers(known: Iterable[ProcessIdentity], folder: str, *, keep: Iterable[int] = ()) -> None:
    """Terminate the processes that a killed supervisor left behind.

    Args:
        known: the processes that it had recorded.
        keep: ids of processes that stay.
        folder: private folder of the endpoint; empty: unknown. HAProxy is restarted on every change of replicas,
            perhaps after its id was last recorded, but its command line always names a file in this folder.
    """
    prefix = f"{folder.rstrip('/')}/"
    leftover_pids = {identity.pid for identity in known if alive(identity)}
    kept = set(keep)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid in kept:
                continue
            if process.pid in leftover_pids or (len(prefix) > 1 and any(prefix in word for word in process.cmdline())):
                found.append(process)
    end(found, timeout_s=5.0)
