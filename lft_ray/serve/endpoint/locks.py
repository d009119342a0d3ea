"""The locks of an endpoint in its run folder, and the writing of its record there, also after it was moved.

In: a run folder. Out: its storage, its locks, and writes of ``endpoint.json`` that never create a folder anew. One lock
makes commands wait for each other; the other is held by the supervisor for its life.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lft_ray.errors import InputError, UnreachableError
from lft_ray.records import Endpoint
from lft_ray.run.flock import COMMAND_LOCK, ENDPOINT_LOCK, FileLock, LockHolder, last_holder, live_holder
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record as endpoints

__all__ = ["EndpointSite", "one_command", "release_command", "served_last", "serving"]

_TAKE_OVER_S = 5.0
"""Seconds in which a supervisor must get its lock: readers hold it for an instant."""
_WAIT_S = 900.0
"""Seconds that a command waits for another one: an export and a start take minutes on a busy machine."""
_held: dict[str, FileLock] = {}
"""URI of a run -> command lock that this process holds."""


@contextmanager
def one_command(
    storage: Storage,
    action: str,
    *,
    wait_s: float = _WAIT_S,
    on_wait: Callable[[LockHolder], None] | None = None,
) -> Iterator[None]:
    """Let one command at a time start, change or stop the endpoint of a run. Reentrant within the process.

    Args:
        storage: the run folder.
        action: the command, such as ``lft deploy``.
        wait_s: seconds to wait for another command.
        on_wait: called once with the other command's process, before the wait.

    Raises:
        UnreachableError: another command did not end in time; the message names it.
    """
    if storage.uri in _held:
        yield
        return
    path = _lock_path(storage, COMMAND_LOCK)
    lock = FileLock(path, action)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        acquired = lock.acquire(wait_s=wait_s, on_wait=on_wait)
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}", fix="make the folder writable") from None
    if not acquired:
        raise UnreachableError(
            f"{live_holder(path) or LockHolder()} is changing the endpoint of {storage.uri} and did not end within "
            f"{wait_s:.0f} s",
            fix="wait for it, or stop that process",
        )
    _held[storage.uri] = lock
    try:
        yield
    finally:
        release_command(storage)


def release_command(storage: Storage) -> None:
    """Let other commands change the endpoint from now on, before the end of `one_command`."""
    lock = _held.pop(storage.uri, None)
    if lock is not None:
        lock.release()


def serving(storage: Storage) -> LockHolder | None:
    """The supervisor that lives in a run folder, whatever its record says; None if there is none."""
    return live_holder(_lock_path(storage, ENDPOINT_LOCK))


def served_last(storage: Storage) -> LockHolder | None:
    """The supervisor that lived in a run folder last, dead or alive."""
    return last_holder(_lock_path(storage, ENDPOINT_LOCK))


class EndpointSite:
    """The run folder of a supervisor: holds its lock, and writes its record where the folder is now.

    Args:
        uri: the run folder.
        folder: private folder of the supervisor.
    """

    def __init__(self, uri: str, folder: str) -> None:
        self._storage = Storage(uri)
        self._lock = FileLock(_lock_path(self._storage, ENDPOINT_LOCK), "the endpoint", folder=folder)

    def take(self) -> None:
        """Become the supervisor of this run, for the life of this process.

        Raises:
            InputError: another supervisor lives there.
        """
        path = _lock_path(self._storage, ENDPOINT_LOCK)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire(wait_s=_TAKE_OVER_S):
            raise InputError(
                f"{self._storage.uri} has a live endpoint: {live_holder(path) or LockHolder()}", fix="`lft status`"
            )

    def release(self) -> None:
        """Give the run back."""
        self._lock.release()

    def move_to(self, uri: str) -> None:
        """Use this run folder from now on: a command found the endpoint there."""
        if uri:
            self._storage = Storage(uri)

    @property
    def storage(self) -> Storage:
        """The run folder, at the place to which it was moved."""
        if self._storage.is_local and (path := self._lock.path_now()) is not None:
            self._storage = Storage(path.parent)
        return self._storage

    def write(self, endpoint: Endpoint) -> Endpoint:
        """Write ``endpoint.json``; a run folder that was deleted is not created again."""
        storage = self.storage
        if storage.is_local and not storage.exists():
            return endpoint
        log = Path(endpoint.log)
        if endpoint.log and storage.is_local and not log.exists() and (moved := Path(storage.uri) / log.name).exists():
            endpoint = endpoint.replace(log=str(moved))
        return endpoints.write(storage, endpoint)


def _lock_path(storage: Storage, name: str) -> Path:
    if storage.is_local:
        return Path(storage.uri) / name
    # A bucket has no locks: commands on one machine wait for each other, those on two machines do not.
    return _state_folder() / "locks" / f"{hashlib.sha256(storage.uri.encode()).hexdigest()[:16]}{name}"


def _state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 (never raises)
    for folder in (Path(home) / "lft_ray", Path(tempfile.gettempdir()) / f"lft-state-{os.getuid()}"):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
                return folder
    raise InputError("neither the home folder nor the temporary folder can be written", fix="set XDG_STATE_HOME")
