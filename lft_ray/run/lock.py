"""Driver lock: at most one driver process per run; the lock of a dead driver is taken over.

In: the run folder. Out: a context manager that holds ``driver.lock`` and, on a local disk, a kernel lock on a file
beside it. Who holds the kernel lock lives, whatever its pid namespace and whatever the clocks say; on other hosts and
in buckets, where no kernel can tell, the heartbeat is watched: it must change while this process looks. Wall clocks are
never compared. Never kills another driver.
"""

import errno
import fcntl
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from lft_ray.errors import DamagedFileError, InputError, RunGoneError, StorageError
from lft_ray.processes import ProcessIdentity, alive, this_process
from lft_ray.records import Record
from lft_ray.run.files import parse_record
from lft_ray.run.storage import Storage
from lft_ray.system import signals

__all__ = ["GUARD", "NAME", "DriverLock", "Holder", "exclusive"]

NAME = "driver.lock"
GUARD = f".{NAME}.guard"
HEARTBEAT_S = 10.0
"""Seconds between two heartbeats."""
LEASE_S = 90.0
"""Seconds for which a heartbeat is watched before its holder counts as dead. Nine missed heartbeats: a driver that is
suspended for a minute (a closed laptop, a slow bucket) keeps its run."""
_NO_KERNEL_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Errors of flock on file systems without it."""
_GUARD_TRIES = 100
"""Attempts at the kernel lock, 0.05 s apart, while its holder is just starting or ending."""
_EXCLUSIVE_WAIT_S = 60.0
_held: dict[str, "DriverLock"] = {}
"""URI -> lock that this process holds."""

Log = Callable[[str], None]


class Holder(Record):
    """The process that holds a run."""

    host: str
    process: ProcessIdentity
    heartbeat_at: float
    """Seconds since the epoch on the holder's clock: for people, never compared with another clock."""
    beat: int = 0
    """Number of heartbeats so far: a heartbeat changes the file even where a clock stands still."""
    guarded: bool = False
    """Whether it holds the kernel lock as long as it lives."""
    pid_namespace: str = ""
    """Kernel's name of the namespace of its process id; empty: unknown."""

    def same(self, other: "Holder") -> bool:
        """Whether both name the same process."""
        return (self.host, self.process) == (other.host, other.process)

    @property
    def name(self) -> str:
        """``host:pid``."""
        return f"{self.host}:{self.process.pid}"


class DriverLock:
    """Context manager that makes this process the only driver of a run. Reentrant within the process.

    Args:
        storage: the run folder.
        log: told, in one sentence, that a heartbeat is being watched, which takes up to `LEASE_S`.

    Raises:
        InputError: on entry, if another live driver holds the lock; the message names its host:pid.
        StorageError: on entry, if the folder cannot be written.
    """

    def __init__(self, storage: Storage, log: Log = lambda text: None) -> None:
        self.storage = storage
        self.lost = ""
        self._log = log
        self._me = Holder(
            host=socket.gethostname(),
            process=this_process(),
            heartbeat_at=time.time(),
            pid_namespace=_pid_namespace(),
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard: IO[bytes] | None = None
        self._at_leave = ExitStack()

    @staticmethod
    def check_held(storage: Storage) -> None:
        """Refuse to continue if this process held the run and has lost it since.

        Raises:
            RunGoneError: the run folder was removed.
            InputError: another driver has taken over. Never raised if this process has not locked the run (a reader).
        """
        lock = _held.get(storage.uri)
        if lock is None:
            return
        if lock.lost == "gone" or (storage.is_local and not Path(storage.uri).is_dir()):
            raise RunGoneError(
                f"the run folder {storage.uri} is gone: it was removed, or its disk was unmounted",
                fix="bring it back and continue with --resume, or start again",
            )
        if lock.lost:
            raise InputError(
                f"another driver has taken over run {storage.uri}: this one sent no heartbeat for {LEASE_S:g} s",
                fix="let the other driver finish",
            )

    def __enter__(self) -> "DriverLock":
        if self.storage.uri in _held:
            return self
        try:
            self._guard = self._take_guard()
            self._refuse_live()
            self._write_heartbeat()
        except OSError as error:
            self._release_guard()
            raise StorageError(
                f"cannot write to storage {self.storage.uri}: {error}", fix="choose another one with --set storage=..."
            ) from error
        except BaseException:
            self._release_guard()
            raise
        _held[self.storage.uri] = self
        self._thread = threading.Thread(target=self._heartbeat_loop, name="driver-lock", daemon=True)
        self._thread.start()
        self._at_leave.enter_context(signals.at_leave(self._delete))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=HEARTBEAT_S)
        self._thread = None
        self._at_leave.close()
        _held.pop(self.storage.uri, None)
        try:
            self._delete()
        finally:
            self._release_guard()

    def _delete(self) -> None:
        """Delete the lock file, unless another driver has taken over."""
        # A full disk or a lost mount must not hide the error that ended the block.
        with suppress(OSError):
            if self._holds():
                self.storage.delete_file(NAME)

    def holder(self) -> Holder | None:
        """Read the holder from the lock file, dead or alive; None without one.

        Raises:
            InputError: the file is of another version, so its holder cannot be checked.
        """
        data = self._content()
        if data is None:
            return None
        try:
            return parse_record(data, Holder, self.storage, NAME)
        except DamagedFileError as error:
            if "damaged:" in error.message:
                # A truncated lock file is left by a crash of its writer, which therefore no longer holds the lock.
                return None
            reason = error.message.partition("version: ")[2] or error.message
            raise InputError(
                f"{self.storage.uri_of(NAME)} cannot be read: {reason}",
                fix="make sure that the process it names has ended, and delete the file",
            ) from None

    # ------------------------------------------------------------ is the holder alive

    def _refuse_live(self) -> None:
        holder = self.holder()
        if holder is not None and self._is_alive(holder):
            raise self._in_use(holder)

    def _in_use(self, holder: Holder | None) -> InputError:
        return InputError(
            f"run {self.storage.uri} is in use by {f'process {holder.name}' if holder else 'another process'}",
            fix="wait for it to end, or stop that process first",
        )

    def _is_alive(self, holder: Holder) -> bool:
        """Whether a holder lives, once this process has the kernel lock where there is one."""
        if holder.process == self._me.process and self._me.guarded:
            # This process, which would have found the lock among those it holds: an earlier attempt to take it failed.
            return False
        if holder.process.boot_id == self._me.process.boot_id:
            if alive(holder.process):
                return True
            # In its own namespace a process is found by its id; in any, the kernel has released the lock of a dead one.
            if (holder.guarded and self._me.guarded) or self._is_neighbour(holder):
                return False
        return self._beats(holder)

    def _is_neighbour(self, holder: Holder) -> bool:
        """Whether its process id means the same process here."""
        here = (self._me.process.boot_id, self._me.pid_namespace)
        return (holder.process.boot_id, holder.pid_namespace) == here

    def _beats(self, holder: Holder) -> bool:
        """Watch the heartbeat of a process that cannot be looked up. Counts its own looks, so no clock matters."""
        self._log(
            f"run {self.storage.uri} was in use by process {holder.name}: watching {LEASE_S:g} s whether it is alive"
        )
        first, step_s = self._content(), min(1.0, HEARTBEAT_S / 2, LEASE_S / 2)
        for _ in range(math.ceil(LEASE_S / step_s)):
            time.sleep(step_s)
            now = self._content()
            if now is None:
                return False  # it has ended and released the run
            if now != first:
                return True
        return False

    def _content(self) -> bytes | None:
        try:
            return self.storage.get(NAME)
        except FileNotFoundError:
            return None

    # ------------------------------------------------------------ the kernel lock

    def _take_guard(self) -> IO[bytes] | None:
        """Lock the guard file for as long as this process lives. None in a bucket and without kernel locks.

        Object stores have no such lock: two drivers that start within the same second may both succeed, and the one
        that wrote last wins at the next heartbeat of the other.
        """
        if not self.storage.is_local:
            return None
        path = Path(self.storage.uri) / GUARD
        for _ in range(_GUARD_TRIES):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("ab")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                stream.close()
                if error.errno in _NO_KERNEL_LOCKS:
                    return None
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                holder = self.holder()
                # The kernel ends the threads of a killed process one by one, and releases its lock with the last.
                is_ending = holder is not None and self._is_neighbour(holder) and not alive(holder.process)
                if holder is not None and not is_ending:
                    raise self._in_use(holder) from None
            else:
                # The folder may have been deleted and made anew between open and lock.
                if _is_same_file(stream, path):
                    self._me = self._me.replace(guarded=True)
                    return stream
                stream.close()
            time.sleep(0.05)  # its holder is just starting or ending
        raise self._in_use(None)

    def _release_guard(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def _renew_guard(self) -> None:
        """Lock a new guard file if someone deleted the one that this process holds."""
        path = Path(self.storage.uri) / GUARD
        if self._guard is None or _is_same_file(self._guard, path) or not path.parent.is_dir():
            return
        stream = path.open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return
        self._guard.close()
        self._guard = stream

    # ------------------------------------------------------------ heartbeat

    def _holds(self) -> bool:
        try:
            holder = self.holder()
        except InputError:
            return False  # a driver of another version has taken over
        return holder is not None and holder.same(self._me)

    def _write_heartbeat(self) -> None:
        self._me = self._me.replace(heartbeat_at=time.time(), beat=self._me.beat + 1)
        self.storage.put(NAME, self._me.model_dump_json())

    def _heartbeat_loop(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            # One failed write to a bucket is no reason to stop: the lease lasts nine heartbeats.
            with suppress(OSError):
                self.lost = self._why_lost()
                if self.lost:
                    return
                try:
                    self._renew_guard()
                    self._write_heartbeat()
                except RunGoneError:
                    self.lost = "gone"
                    return

    def _why_lost(self) -> str:
        if self._holds():
            return ""
        if not self.storage.exists("") if self.storage.is_local else not self.storage.exists("experiment.yaml"):
            return "gone"
        # Nobody can have taken over what the kernel has locked: someone deleted the file.
        return "" if self._guard is not None and self._content() is None else "taken"


@contextmanager
def exclusive(storage: Storage, purpose: str, *, wait_s: float = _EXCLUSIVE_WAIT_S) -> Iterator[None]:
    """Let one process at a time do something to a run, such as ``export``, beside the driver of its search.

    A bucket has no such lock, and a folder that cannot be written needs none.

    Raises:
        InputError: another process of this machine is still at it after ``wait_s``.
    """
    path = Path(storage.uri) / f".{purpose}.guard"
    if not storage.is_local or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        yield
        return
    with path.open("ab") as stream:
        ends_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno in _NO_KERNEL_LOCKS:
                    break
                if time.monotonic() > ends_at:
                    raise InputError(
                        f"another process is at the {purpose} of {storage.uri}", fix="wait for it to end, then repeat"
                    ) from None
            time.sleep(0.05)
        yield


def _is_same_file(stream: IO[bytes], path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(stream.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
