"""Watch the core processes of a Ray cluster that this process started. In: their IDs. Out: an error when one dies.

Without the raylet a search waits for ever, and without the GCS Ray's C++ code ends the process after a minute, with its
own words. The watch sees either death within seconds, interrupts the main thread wherever it waits, and ends what is
left of the cluster. Only ends processes that the cluster started. Linux and macOS.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, cast

import psutil

from lft_ray.cluster.memory import OomWatch
from lft_ray.errors import UnreachableError
from lft_ray.processes import ProcessIdentity, alive, identity_of

__all__ = ["CoreDiedError", "CoreLostError", "CoreWatch", "end_started", "when_stuck"]

INTERVAL_S = 2.0
"""Seconds between two looks."""
STUCK_S = 5.0
"""Seconds that the main thread has to leave what it waits for, before the watch ends the process for it."""
WAKE = signal.SIGUSR2
"""Wakes the main thread. Not SIGINT: whoever handles that takes it for the user's."""
CORE = {"raylet": "Ray's raylet", "gcs_server": "Ray's GCS"}
_stuck: list[Callable[[UnreachableError], None]] = []
"""What ends this process where the main thread does not come back from Ray's C++ code; empty: nothing does."""


class CoreLostError(UnreachableError):
    """The Ray cluster that this process started died under it. Ray may keep the process from ending by itself."""


class CoreDiedError(KeyboardInterrupt):
    """Raised in the main thread, wherever it waits. As with an interrupt, nobody on the way takes it for their own."""


@contextmanager
def when_stuck(end: Callable[[UnreachableError], None]) -> Iterator[None]:
    """While the context runs, call ``end`` if the core died and the main thread stays stuck: a command's last resort.

    Args:
        end: shows the error and ends the process; called in the thread of the watch, after the clean-up.
    """
    _stuck.append(end)
    try:
        yield
    finally:
        _stuck.remove(end)


class CoreWatch:
    """Looks after the raylet and the GCS that ``ray.init`` started as children of this process.

    Args:
        clean_up: removes what the cluster leaves behind; called once its processes are gone.
        marker: text in the command lines of the cluster's processes, such as its temporary folder.
        interval_s: seconds between two looks.
    """

    def __init__(self, clean_up: Callable[[], None], marker: str, *, interval_s: float = INTERVAL_S) -> None:
        self.failure: UnreachableError | None = None
        """The error to raise; None while the core lives."""
        self._clean_up, self._marker, self._interval_s = clean_up, marker, interval_s
        self._core: dict[str, ProcessIdentity] = {}
        self._family: dict[int, ProcessIdentity] = {}
        self._oom = OomWatch()
        self._closed = threading.Event()
        self._begun_by_main = threading.current_thread() is threading.main_thread()
        self._handler_before: Any = None
        self._thread = threading.Thread(target=self._look_on, name="ray-watch", daemon=True)

    @property
    def core(self) -> dict[str, int]:
        """Process IDs of the core by name: ``raylet``, ``gcs_server``."""
        return {name: identity.pid for name, identity in self._core.items()}

    def start(self) -> None:
        """Find the core among the children of this process, and begin to look after it."""
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if (name := child.name()) in CORE and (found := identity_of(child.pid)) is not None:
                    self._core[name] = found
        self._note_family()
        if self._begun_by_main:
            self._handler_before = signal.signal(WAKE, self._wake)
        self._thread.start()

    def raise_if_dead(self) -> None:
        """Raise the error of a dead core.

        Raises:
            UnreachableError: the raylet or the GCS died.
        """
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Stop looking: the cluster is about to be stopped on purpose, or is gone."""
        self._closed.set()
        if self._begun_by_main and threading.current_thread() is threading.main_thread():
            signal.signal(WAKE, self._handler_before or signal.SIG_DFL)
            self._begun_by_main = False
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=self._interval_s + 1.0)

    def end_family(self) -> None:
        """End all processes of the cluster that were seen and still live."""
        for identity in self._family.values():
            if alive(identity):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(identity.pid, signal.SIGKILL)

    def _look_on(self) -> None:
        while not self._closed.wait(self._interval_s):
            dead = next((name for name, identity in self._core.items() if not alive(identity)), None)
            if dead is None:
                self._note_family()
                continue
            self.failure = self._error(dead)
            if self._begun_by_main:
                # A real signal: Ray's calls, locks and sleeping code return from whatever they wait for.
                signal.pthread_kill(cast("int", threading.main_thread().ident), WAKE)
            if not self._closed.wait(STUCK_S) and _stuck:
                self.end_family()
                self._clean_up()
                _stuck[-1](self.failure)
            return

    def _wake(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.failure is not None and not self._closed.is_set():
            raise CoreDiedError

    def _error(self, name: str) -> CoreLostError:
        how = _ended_how(self._core[name].pid)
        if self._oom.look():
            how = f"{how}; the kernel killed a process for lack of memory"
        elif "signal 9" in how:
            how = f"{how}; out of memory?"
        return CoreLostError(
            f"{CORE[name]} died ({how}): this cluster is gone",
            fix="run the command again with --resume: finished trials are kept, running ones go on from their last "
            "saved state. If memory was short, lower search.concurrency or use a machine with more",
        )

    def _note_family(self) -> None:
        """Remember the processes of the cluster: those of a dead raylet belong to init and cannot be found later."""
        found: dict[int, ProcessIdentity] = {}
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name() not in CORE and not any(self._marker in word for word in child.cmdline()):
                    continue
                for process in (child, *child.children(recursive=True)):
                    known = self._family.get(process.pid)
                    identity = known if known is not None and alive(known) else identity_of(process.pid)
                    if identity is not None:
                        found[process.pid] = identity
        self._family = found


def end_started(marker: str) -> None:
    """End the children of this process, and theirs, that have ``marker`` in their command lines: a start that failed.

    Ray leaves the GCS of a start that timed out running until this process ends.
    """
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(marker in word for word in child.cmdline()):
                for process in (*child.children(recursive=True), child):
                    process.kill()
                child.wait(timeout=STUCK_S)


def _ended_how(pid: int) -> str:
    """How a child of this process ended, without reaping it: whoever started it waits for it too."""
    with suppress(ChildProcessError, OSError, AttributeError):
        status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is not None and status.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return f"killed by signal {status.si_status}"
        if status is not None:
            return f"exit code {status.si_status}"
    return "it ended"
