"""Driver lock: at most one driver process per run; the lock of a dead driver is taken over.

In: the run folder. Out: a context manager that writes ``driver.lock``. The file contains the host, the process identity
(a reused pid is another process) and a heartbeat, since a process on another host cannot be checked directly. Never
kills another driver.
"""

import fcntl
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from lft_ray.errors import InputError
from lft_ray.processes import ProcessIdentity, alive, this_process
from lft_ray.records import Record
from lft_ray.run.storage import Storage

__all__ = ["DriverLock", "Holder"]

NAME = "driver.lock"
HEARTBEAT_S = 10.0
"""Seconds between two heartbeats."""
LEASE_S = 90.0
"""Age of a heartbeat after which its holder on another host counts as dead. Nine missed heartbeats: a driver that is
suspended for a minute (a closed laptop, a slow bucket) keeps its run."""
_held: dict[str, "DriverLock"] = {}
"""URI -> lock that this process holds."""


class Holder(Record):
    """The process that holds a run."""

    host: str
    process: ProcessIdentity
    heartbeat_at: float
    """Seconds since the epoch on the holder's clock."""

    def same(self, other: "Holder") -> bool:
        """Whether both name the same process."""
        return (self.host, self.process) == (other.host, other.process)


class DriverLock:
    """Context manager that makes this process the only driver of a run. Reentrant within the process.

    Args:
        storage: the run folder.

    Raises:
        InputError: on entry, if another live driver holds the lock; the message names its host:pid.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.lost = False
        self._me = Holder(host=socket.gethostname(), process=this_process(), heartbeat_at=time.time())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def check_held(storage: Storage) -> None:
        """Refuse to continue if this process held the run and another driver has taken it over since.

        Raises:
            InputError: another driver has taken over. Never raised if this process has not locked the run (a reader).
        """
        lock = _held.get(storage.uri)
        if lock is not None and lock.lost:
            raise InputError(
                f"another driver has taken over run {storage.uri}: this one sent no heartbeat for {LEASE_S:g} s",
                fix="let the other driver finish",
            )

    def __enter__(self) -> "DriverLock":
        if self.storage.uri in _held:
            return self
        with self._guard():
            holder = self.holder()
            if holder is not None and _is_alive(holder):
                raise InputError(
                    f"run {self.storage.uri} is in use by process {holder.host}:{holder.process.pid}",
                    fix="wait for it to end, or stop that process first",
                )
            self._write_heartbeat()
        _held[self.storage.uri] = self
        self._thread = threading.Thread(target=self._heartbeat_loop, name="driver-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=HEARTBEAT_S)
        self._thread = None
        _held.pop(self.storage.uri, None)
        with self._guard():
            if self._holds():
                self.storage.delete_file(NAME)

    def holder(self) -> Holder | None:
        """Read the holder from the lock file, dead or alive; None without one.

        Raises:
            InputError: the file is of another version, so its holder cannot be checked.
        """
        try:
            return Holder.model_validate_json(self.storage.get(NAME))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            if detail["type"] == "json_invalid":
                # A truncated lock file is left by a crash of its writer, which therefore no longer holds the lock.
                return None
            where = ".".join(str(part) for part in detail["loc"])
            raise InputError(
                f"{self.storage.uri_of(NAME)} cannot be read: {where}: {detail['msg']}",
                fix="make sure that the process it names has ended, and delete the file",
            ) from None

    def _holds(self) -> bool:
        try:
            holder = self.holder()
        except InputError:
            return False  # a driver of another version has taken over
        return holder is not None and holder.same(self._me)

    def _write_heartbeat(self) -> None:
        self.storage.put(NAME, self._me.replace(heartbeat_at=time.time()).model_dump_json())

    def _heartbeat_loop(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            # One failed write to a bucket is no reason to stop: the lease lasts nine heartbeats.
            with suppress(OSError):
                self.lost = not self._holds()
                if self.lost:
                    return
                self._write_heartbeat()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Hold a file lock during read-check-write, so that two drivers cannot both find the holder dead.

        Object stores have no such lock: two drivers that start within the same second may both succeed, and the one
        that wrote last wins at the next heartbeat of the other.
        """
        if not self.storage.is_local:
            yield
            return
        folder = Path(self.storage.uri)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{NAME}.guard").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _is_alive(holder: Holder) -> bool:
    if holder.host != socket.gethostname():
        return time.time() - holder.heartbeat_at < LEASE_S
    return alive(holder.process)
