"""One driver per run: ``driver.lock`` names who works on a run folder; a dead holder's lock is taken over.

In: the run folder. Out: a context manager. The file says host, process (a reused pid is another process) and a
heartbeat, because a process on another host can't be asked whether it lives.
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
_held: dict[str, "DriverLock"] = {}
# Nine missed heartbeats: a driver that suspends for a minute (a laptop lid, a slow bucket) keeps its run.
LEASE_S = 90.0


class Holder(Record):
    """Who holds a run."""

    host: str
    process: ProcessIdentity
    heartbeat_at: float
    """Seconds since the epoch, by the holder's clock."""

    def same(self, other: "Holder") -> bool:
        """Whether both name the same process."""
        return (self.host, self.process) == (other.host, other.process)


class DriverLock:
    """Context manager that makes this process the only driver of a run. May be entered again by its holder.

    Args:
        storage: the run folder.

    Raises:
        InputError: on entry, when a living driver holds the run; the message names its host:pid.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.lost = False
        self._me = Holder(host=socket.gethostname(), process=this_process(), heartbeat_at=time.time())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def check_held(storage: Storage) -> None:
        """Refuse to go on when this process held the run and another driver has taken it over since.

        Raises:
            InputError: it did. Nothing is said where this process never locked the run (a reader, a test).
        """
        lock = _held.get(storage.uri)
        if lock is not None and lock.lost:
            raise InputError(
                f"another driver has taken over run {storage.uri} while this one did not answer for {LEASE_S:g} s",
                fix="let the other one finish",
            )

    def __enter__(self) -> "DriverLock":
        if self.storage.uri in _held:
            return self
        with self._guard():
            holder = self.holder()
            if holder is not None and _is_alive(holder):
                raise InputError(
                    f"run {self.storage.uri} is being worked on by {holder.host}:{holder.process.pid}",
                    fix="wait for it to end, or stop that process first",
                )
            self._beat()
        _held[self.storage.uri] = self
        self._thread = threading.Thread(target=self._beat_on, name="driver-lock", daemon=True)
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
        """Who holds the run by its file (living or not), or None.

        Raises:
            InputError: the file is of another version, so nobody can say whether its holder lives.
        """
        try:
            return Holder.model_validate_json(self.storage.get(NAME))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            if detail["type"] == "json_invalid":
                # A lock that ends early was torn by a crash of its own writer: nobody holds it.
                return None
            where = ".".join(str(part) for part in detail["loc"])
            raise InputError(
                f"{self.storage.uri_of(NAME)} cannot be read: {where}: {detail['msg']}",
                fix="see that the process it names has ended, and delete the file",
            ) from None

    def _holds(self) -> bool:
        try:
            holder = self.holder()
        except InputError:
            return False  # a driver of another version has taken over
        return holder is not None and holder.same(self._me)

    def _beat(self) -> None:
        self.storage.put(NAME, self._me.replace(heartbeat_at=time.time()).model_dump_json())

    def _beat_on(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            # A bucket that does not answer for one beat is no reason to stop; the lease is nine.
            with suppress(OSError):
                self.lost = not self._holds()
                if self.lost:
                    return
                self._beat()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Hold a file lock over read-check-write, so that two drivers can't both find the holder dead.

        Object stores have no such lock: there two drivers that start within the same second may both pass, and the
        one that wrote last wins at the next heartbeat of the other.
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
