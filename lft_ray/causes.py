"""Why a trial, or a stage, ended: its configuration, or the machine it ran on. The only place that decides this.

In: an exception, or the text of one that crossed processes. Out: an `EndCause`, a `Fault`, and the error that names it.
Only `CONFIGURATION` may be written down as a trial's failure for good: all other causes say nothing about the
configuration. Light to import: Ray's and torch's errors are recognised by the names of their classes. Never retries.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lft_ray.errors import LftError, StorageError, UnreachableError, first_line

__all__ = [
    "EndCause", "Fault", "MachineError", "cause_of", "cause_of_text", "error_of", "fault_of", "free_bytes",
    "full_place", "gigabytes", "named_faults",
]  # fmt: skip


class EndCause(StrEnum):
    """What ended a trial."""

    CONFIGURATION = "configuration"
    """The trial itself: its hyperparameters, its model, a defect of the code. Would happen again."""
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    """No space, no quota, or a limit on the size of files."""
    READ_ONLY = "read_only"
    """The file system, or the folder, cannot be written."""
    IO_ERROR = "io_error"
    """A device or a mount that fails, or a file of the run that is gone."""
    WORKER_KILLED = "worker_killed"
    """The process of the trial died, by a signal or a crash."""
    NODE_LOST = "node_lost"
    """The machine of the trial died, was drained or cannot be reached."""
    STORAGE_UNREACHABLE = "storage_unreachable"
    """A bucket or a network file system that does not answer."""
    STATE_UNREADABLE = "state_unreadable"
    """A saved training state that is damaged: discarded, so that it never ends a trial."""

    @property
    def stops_study(self) -> bool:
        """Whether every other trial would meet the same: the study stops, and its trials stay unfinished."""
        return self in {EndCause.DISK_FULL, EndCause.READ_ONLY, EndCause.IO_ERROR}

    @property
    def is_memory(self) -> bool:
        """Whether fewer trials at a time may help: a killed process is, on most machines, one that took too much."""
        return self in {EndCause.OUT_OF_MEMORY, EndCause.WORKER_KILLED}


class Fault(BaseModel):
    """Trouble of the machine: what it was, in words, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: EndCause
    message: str
    """One line, without the path."""
    path: str = ""
    """File or folder that could not be read or written; empty: unknown, or not a matter of files."""


class MachineError(Exception):
    """Raised in a worker where the machine, not the configuration, ended a trial. No result is written for it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.fault.cause}: {self.fault.message}"


_ERRNOS = {
    EndCause.DISK_FULL: ("ENOSPC", "EDQUOT", "EFBIG"),
    EndCause.READ_ONLY: ("EROFS", "EACCES", "EPERM"),
    EndCause.IO_ERROR: ("EIO", "ENODEV", "ENXIO", "EREMOTEIO", "ESTALE", "EMFILE", "ENFILE", "EUCLEAN"),
    EndCause.OUT_OF_MEMORY: ("ENOMEM",),
    EndCause.STORAGE_UNREACHABLE: (
        "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
        "ENETUNREACH", "ENOTCONN",
    ),
}  # fmt: skip
_BY_ERRNO = {getattr(errno, n): cause for cause, names in _ERRNOS.items() for n in names if hasattr(errno, n)}
# Libraries in Rust and C++ (safetensors, tokenizers, Arrow) keep the kernel's words and lose the number. EACCES, EPERM
# and the errors of connections are left out: their words also occur in messages about models and hosts.
_WORDED = [
    number
    for cause in (EndCause.DISK_FULL, EndCause.IO_ERROR, EndCause.OUT_OF_MEMORY)
    for number in (getattr(errno, name, 0) for name in _ERRNOS[cause])
    if number
] + [errno.EROFS]
_PHRASES = (
    # numpy's tofile reports a short write without a number.
    (" requested and ", EndCause.DISK_FULL),
    ("std::bad_alloc", EndCause.OUT_OF_MEMORY),
    ("can't allocate memory", EndCause.OUT_OF_MEMORY),
    ("running low on memory", EndCause.OUT_OF_MEMORY),
    ("node has died", EndCause.NODE_LOST),
    ("node was terminated", EndCause.NODE_LOST),
    ("node is dead", EndCause.NODE_LOST),
    ("node was preempted", EndCause.NODE_LOST),
    ("AWS Error", EndCause.STORAGE_UNREACHABLE),
    ("curlCode", EndCause.STORAGE_UNREACHABLE),
    ("google::cloud::Status", EndCause.STORAGE_UNREACHABLE),
    ("GetFileInfo() yielded path", EndCause.STORAGE_UNREACHABLE),
)
_BY_CLASS = {
    "OutOfMemoryError": EndCause.OUT_OF_MEMORY,
    "ObjectStoreFullError": EndCause.OUT_OF_MEMORY,
    "MemoryError": EndCause.OUT_OF_MEMORY,
    "OutOfDiskError": EndCause.DISK_FULL,
    "NodeDiedError": EndCause.NODE_LOST,
    "ActorUnavailableError": EndCause.NODE_LOST,
    "WorkerCrashedError": EndCause.WORKER_KILLED,
    "ActorDiedError": EndCause.WORKER_KILLED,
    "RayActorError": EndCause.WORKER_KILLED,
    "BrokenProcessPool": EndCause.WORKER_KILLED,
}


def cause_of(error: BaseException, *, within: str = "") -> EndCause:
    """What an exception, or one that it was raised from, says about the end of a trial.

    Args:
        error: the exception.
        within: the run folder: a file below it that is missing or cannot be opened is no matter of a configuration.
    """
    for one in _chain(error):
        if isinstance(one, MachineError):
            return one.fault.cause
        if isinstance(one, LftError):
            # Written for the user by code that knew what was wrong, such as a base model without permission to read.
            continue
        cause = _cause_of_one(one, within)
        if cause is not EndCause.CONFIGURATION:
            return cause
    return EndCause.CONFIGURATION


def _cause_of_one(error: BaseException, within: str) -> EndCause:
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    for kind in type(error).__mro__:
        # A dead actor's text tells a lost node, or the monitor of memory, from a killed process.
        if kind.__name__ in _BY_CLASS:
            found = cause_of_text(str(error))
            return found if found is not EndCause.CONFIGURATION else _BY_CLASS[kind.__name__]
    if isinstance(error, OSError) and within and str(error.filename or "").startswith(within):
        return EndCause.IO_ERROR
    return cause_of_text(str(error))


def cause_of_text(text: str) -> EndCause:
    """The same, of the text of an exception that crossed a process as words only."""
    for number in _WORDED:
        if f"(os error {number})" in text or f"[Errno {number}]" in text or os.strerror(number) in text:
            return _BY_ERRNO[number]
    for words, cause in _PHRASES:
        if words in text and (words != " requested and " or text.rstrip().endswith("written")):
            return cause
    for name, cause in _BY_CLASS.items():
        if f"{name}:" in text or f"{name}(" in text:
            return cause
    return EndCause.CONFIGURATION


def fault_of(error: BaseException, *, path: str = "") -> Fault | None:
    """The fault that an exception is about; None: it is the configuration's own.

    Args:
        error: the exception.
        path: the run folder, named where the exception names no file.
    """
    cause = cause_of(error, within=path)
    if cause is EndCause.CONFIGURATION:
        return None
    for one in _chain(error):
        if isinstance(one, MachineError):
            return one.fault
    named = next((str(e.filename) for e in _chain(error) if isinstance(e, OSError) and e.filename), "")
    return Fault(cause=cause, message=f"{type(error).__name__}: {first_line(error)}"[:300], path=named or path)


def error_of(fault: Fault, *, needed_bytes: float = 0.0) -> LftError:
    """The error that ends a study, a stage or a command because of a fault.

    Args:
        fault: what happened.
        needed_bytes: bytes that the work still needs; 0: unknown.
    """
    if fault.cause is EndCause.STORAGE_UNREACHABLE:
        return UnreachableError(
            f"storage {fault.path or 'of the run'} does not answer: {fault.message}",
            fix="run the command again with --resume once it answers; nothing that finished is lost",
        )
    free = free_bytes(fault.path)
    room = f"; {gigabytes(free)} free" if free is not None else ""
    room += f", about {gigabytes(needed_bytes)} needed" if needed_bytes else ""
    what, fix = {
        EndCause.DISK_FULL: ("the disk is full", "free space there, or choose another folder with --set storage=..."),
        EndCause.READ_ONLY: ("the folder cannot be written", "make it writable (mount, owner, permissions)"),
        EndCause.OUT_OF_MEMORY: ("out of memory", "use a machine or a container with more memory"),
    }.get(fault.cause, _io_words(fault.message))
    where = f" at {fault.path}" if fault.path else ""
    return StorageError(
        f"{what}{where}{room} ({fault.message})",
        fix=f"{fix}, then run the command again with --resume: unfinished trials go on, nothing finished is lost",
    )


def _io_words(message: str) -> tuple[str, str]:
    if os.strerror(errno.EMFILE) in message:
        return "too many open files", "raise the limit (ulimit -n)"
    return "the disk or the mount fails", "check the device and the mount of this folder"


@contextmanager
def named_faults(path: str, *, needed_bytes: float = 0.0) -> Iterator[None]:
    """Turn errors of the disk or the storage inside the context into an `LftError` that names them.

    Args:
        path: the run folder.
        needed_bytes: bytes that the work needs; 0: unknown.
    """
    try:
        yield
    except (LftError, BrokenPipeError):
        raise
    except Exception as error:
        fault = fault_of(error)
        is_told = isinstance(error, MachineError)  # a worker has decided already
        if fault is None or not (is_told or fault.cause.stops_study or fault.cause is EndCause.STORAGE_UNREACHABLE):
            raise
        if fault.cause is EndCause.STORAGE_UNREACHABLE and not _is_remote(path):
            raise  # a connection of something else: the hub, a proxy, an endpoint
        fault = fault if fault.path else fault.model_copy(update={"path": path})
        raise error_of(fault, needed_bytes=needed_bytes) from error


def free_bytes(path: str) -> int | None:
    """Free bytes of the file system of a path, or of its nearest parent that exists; None: not a local path."""
    if not path or _is_remote(path):
        return None
    for folder in (Path(path), *Path(path).parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def full_place(*paths: str, least_bytes: int = 4_000_000) -> str:
    """The first of these places, or the folder for temporary files, with fewer free bytes than that; empty: none.

    A process that writes to a mapped file on a full disk dies of SIGBUS, and leaves no error to read.
    """
    for path in (*paths, tempfile.gettempdir()):
        free = free_bytes(path)
        if free is not None and free < least_bytes:
            return path
    return ""


def gigabytes(count: float) -> str:
    """A number of bytes in GB or MB, with two digits."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _is_remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, those it groups, and those it was raised from, each once."""
    ahead: list[BaseException | None] = [error]
    seen: set[int] = set()
    while ahead:
        one = ahead.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            ahead += one.exceptions
        ahead.append(getattr(one, "cause", None))
        ahead.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
