"""File locks that the kernel holds for a living process, and that end with it however it ends.

In: the path of a lock file. Out: an exclusive lock, and who holds it. No clock, no process id and no heartbeat decides:
the kernel tells a live holder from a dead one, also across containers that share the folder. The file stays after the
lock is released: deleting it would let two processes lock two files of one name. Never signals a process.
"""

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from lft_ray.processes import ProcessIdentity, this_process
from lft_ray.records import Record

__all__ = ["COMMAND_LOCK", "ENDPOINT_LOCK", "FileLock", "LockHolder", "last_holder", "live_holder"]

ENDPOINT_LOCK = ".endpoint.lock"
"""In a run folder: held by the supervisor of its endpoint from its start to its end."""
COMMAND_LOCK = ".endpoint.command.lock"
"""In a run folder: held by a command that starts, changes or stops the endpoint, until its work is done."""

_POLL_S = 0.1
_UNSUPPORTED = (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL)
"""Errors of file systems without locks: the caller then relies on process identities alone."""
_F_GETPATH = 50
"""macOS: the current path of an open file."""


class LockHolder(Record):
    """Who holds a lock: the content of its file."""

    host: str = ""
    process: ProcessIdentity | None = None
    """None where the file does not say."""
    action: str = "another process"
    """What it does, as the user knows it: ``lft deploy``."""
    folder: str = ""
    """Private folder of the endpoint that it serves; empty for a command."""

    def __str__(self) -> str:
        return self.action if self.process is None else f"{self.action} (process {self.process.pid} on {self.host})"


class FileLock:
    """An exclusive lock on a file.

    Args:
        path: the lock file; it is created, its folder is not.
        action: what this process does with it, for the message that others print.
        folder: see `LockHolder`.
    """

    def __init__(self, path: Path, action: str, *, folder: str = "") -> None:
        self._path = path
        self._holder = LockHolder(host=socket.gethostname(), process=this_process(), action=action, folder=folder)
        self._handle: int | None = None

    def acquire(self, *, wait_s: float, on_wait: Callable[[LockHolder], None] | None = None) -> bool:
        """Take the lock, waiting for its holder.

        Args:
            wait_s: seconds to wait for another holder; 0: do not wait.
            on_wait: called once, with the holder, before the wait.

        Returns:
            Whether this process holds the lock now. True without a lock where the file system has none.
        """
        deadline = time.monotonic() + wait_s
        told = False
        while not self._try():
            if not told and on_wait is not None:
                on_wait(live_holder(self._path) or LockHolder())
            told = True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def path_now(self) -> Path | None:
        """Current path of the held lock file, also after its folder was moved; None if it is unknown or deleted."""
        if self._handle is None:
            return None
        with suppress(OSError, ValueError):
            if sys.platform == "darwin":
                raw = fcntl.fcntl(self._handle, _F_GETPATH, bytes(1024))
                path = Path(os.fsdecode(raw.rstrip(b"\0")))
            else:
                path = Path(f"/proc/self/fd/{self._handle}").readlink()
            if os.path.samestat(os.fstat(self._handle), path.stat()):
                return path
        return None

    def _try(self) -> bool:
        # os.open makes the handle non-inheritable: no child process keeps the lock alive.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file may have been deleted with its folder between the opening and the locking.
            if not os.path.samestat(os.fstat(handle), self._path.stat()):
                raise BlockingIOError
            os.ftruncate(handle, 0)
            os.write(handle, self._holder.model_dump_json().encode())
        except (BlockingIOError, FileNotFoundError):
            os.close(handle)
            return False
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(handle)
                raise
        self._handle = handle
        return True


def live_holder(path: Path) -> LockHolder | None:
    """Who holds the lock now; None if nobody does, also where the file system has no locks."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # A shared lock: readers that look at the same moment do not see each other.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return last_holder(path) or LockHolder()
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def last_holder(path: Path) -> LockHolder | None:
    """Who held the lock last, dead or alive; None if the file is missing or does not say."""
    try:
        return LockHolder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
