"""Temporary folders that are swept when their owner has died: one per command, and short ones for Unix sockets.

In: a purpose. Out: a private folder with a lock file, which its owner holds with ``flock`` for life; the kernel frees
the lock when the owner dies, in whatever pid namespace or container it lives. A folder is swept only if its lock is
free; one without a lock file is nobody's to judge, and stays. Never follows a link.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lft_ray.errors import InputError
from lft_ray.system import signals

__all__ = [
    "LOCK", "MAX_SOCKET_PARENT", "Scratch", "end_users_of", "make", "own", "short_parent", "sweep",
    "sweep_in", "system_folder", "traceback_file", "without",
]  # fmt: skip

LOCK = ".lft-lock"
PREFIX = "lft-tmp-"
SWEPT = (PREFIX, "lft-ray-", "lft-p-", "lft-tune-")
"""Prefixes of the folders that `make` creates: of a command, a cluster, a replica for profiling, Ray Tune."""
MAX_SOCKET_PARENT = 10
"""A socket of HAProxy needs 97 bytes below its parent (our folder, a node id of 56, its temporary name), of 107."""
KEEP_TRACEBACK_S = 7 * 86400.0
"""A dead folder with a traceback is kept for a week: a message has named the file."""
_TRACEBACK = "error.traceback"
_TRIES = 20
_made: dict[Path, "Scratch"] = {}
"""Folders of this process that have not been removed."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A private temporary folder of this process.

    Attributes:
        path: the folder.
        lock: descriptor of the locked file; -1 on a file system without locks, where nothing is swept.
    """

    path: Path
    lock: int

    def remove(self) -> None:
        """Delete the folder and free its lock."""
        _made.pop(self.path, None)
        shutil.rmtree(self.path, ignore_errors=True)
        if self.lock >= 0:
            with suppress(OSError):
                os.close(self.lock)


def make(prefix: str = PREFIX, parent: Path | None = None) -> Scratch:
    """Create a locked private folder.

    Args:
        prefix: start of its name.
        parent: where; None: the system's temporary folder (TMPDIR).
    """
    for _ in range(_TRIES):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent or system_folder()))
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        if _lock(lock) is None:
            os.close(lock)
            return _noted(Scratch(path, -1))
        # A sweeper may have taken the lock, and the folder with it, between the two calls.
        if _is_same(path / LOCK, lock):
            return _noted(Scratch(path, lock))
        os.close(lock)
    raise InputError(f"cannot create a temporary folder in {parent or system_folder()}", fix="set TMPDIR")


def _noted(made: Scratch) -> Scratch:
    _made[made.path] = made
    return made


def _remove_all() -> None:
    """Delete what this process has made and not removed, the newest first, but for a traceback."""
    for made in reversed(list(_made.values())):
        if not (made.path / _TRACEBACK).exists():
            made.remove()


@contextmanager
def own() -> Iterator[Path]:
    """Give this process a temporary folder of its own: all its temporary files are below, and are deleted at the end.

    Its children inherit the folder as TMPDIR. Folders of commands that have died are swept first. A command that is
    interrupted and cannot unwind deletes all folders that it has made as its last act.
    """
    sweep()
    found = make()
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(found.path)
    try:
        with signals.at_leave(_remove_all):
            yield found.path
    finally:
        tempfile.tempdir = before
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable
        if not (found.path / _TRACEBACK).exists():
            found.remove()


def traceback_file() -> Path:
    """Path for the traceback of an unexpected error; it outlives the command by a week."""
    folder = Path(tempfile.gettempdir())
    if folder.name.startswith(PREFIX):
        return folder / _TRACEBACK
    return Path(tempfile.mkdtemp(prefix=PREFIX)) / _TRACEBACK


def sweep() -> list[Path]:
    """Delete the folders of this user whose owner has died. Returns those that were deleted."""
    swept: list[Path] = []
    for parent in _parents():
        for prefix in SWEPT:
            swept += sweep_in(parent, prefix)
    return swept


def sweep_in(parent: Path, prefix: str) -> list[Path]:
    """Delete the folders of this user below ``parent`` whose owner has died; ``prefix``: start of their names."""
    with suppress(OSError):
        return [folder for folder in sorted(parent.glob(f"{prefix}*")) if _sweep(folder)]
    return []


def without(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables for a process that outlives this command: with the TMPDIR of the system."""
    return {**variables, "TMPDIR": str(system_folder())}


def short_parent(*, executable: bool = False) -> Path:
    """Return a folder for private folders with sockets, whose paths Linux limits to 107 bytes.

    Args:
        executable: whether programs must be able to start from there; a mount with ``noexec`` is passed over.

    Raises:
        InputError: no temporary folder qualifies.
    """
    for candidate in _parents():
        if len(os.fsencode(candidate)) > MAX_SOCKET_PARENT or not os.access(candidate, os.W_OK | os.X_OK):
            continue
        if executable and os.statvfs(candidate).f_flag & os.ST_NOEXEC:
            continue
        return candidate
    tried = ", ".join(str(candidate) for candidate in _parents())
    needs = "short, writable" + (", and mounted without noexec" if executable else "")
    raise InputError(
        f"no temporary folder for Unix sockets: tried {tried}; it must be {needs}",
        fix=f"set TMPDIR to a folder whose path has at most {MAX_SOCKET_PARENT} letters",
    )


def _parents() -> list[Path]:
    """Temporary folders of this system, that of TMPDIR first."""
    return list(dict.fromkeys([system_folder(), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]))


def system_folder() -> Path:
    """The temporary folder of the system, not that of this command."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(PREFIX) else folder


def _lock(descriptor: int) -> bool | None:
    """Whether the lock could be taken; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_same(path: Path, descriptor: int) -> bool:
    with suppress(OSError):
        there, held = path.lstat(), os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
    return False


def _sweep(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not _lock(lock):
            return False
        if (folder / _TRACEBACK).exists() and time.time() - status.st_mtime < KEEP_TRACEBACK_S:
            return False
        end_users_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def end_users_of(folder: Path) -> None:
    """End processes of Ray and Serve that their dead driver has left, known by files that they hold open there."""
    import psutil

    for process in psutil.process_iter(["uids", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if process.info["uids"] is None or process.info["uids"].real != os.getuid() or process.pid == os.getpid():
            continue
        if not any(name in words for name in ("ray", "gcs_server", "haproxy")):
            continue
        with suppress(OSError, psutil.Error):
            held = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            if any(target.startswith(f"{folder}/") for target in held):
                process.kill()
