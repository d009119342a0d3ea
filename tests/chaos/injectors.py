"""Faults to inject into a running search: reusable, each undone by its context or harmless to others.

In: a process that this test started, or a folder of its own. Out: the fault. Never touches a process that is not a
descendant of the given one, and mounts nothing outside the given folder.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

__all__ = [
    "can_mount", "damage", "descendants", "fill", "find", "gone", "kill", "small_disk", "temporary_folder", "users_of",
    "wait_for", "worker_of",
]  # fmt: skip


def wait_for(
    condition: Callable[[], object], *, timeout_s: float = 240.0, every_s: float = 0.1, what: str = ""
) -> None:
    """Wait until a condition holds; fail with ``what`` where it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}"
        time.sleep(every_s)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below a process; empty once it is gone."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def find(pid: int, name: str) -> psutil.Process:
    """The first descendant whose name or command line has ``name``: ``raylet``, ``gcs_server``, ``ray::ImplicitFunc``.

    Names of programs are compared first: the raylet's own name is also a word in its children's command lines.
    """
    below = descendants(pid)
    for process in below:
        with suppress(psutil.Error):
            if process.name() == name:
                return process
    for process in below:
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()):
                return process
    raise AssertionError(f"process {pid} has no descendant {name!r}")


def kill(pid: int, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to a descendant by name. Returns its process ID."""
    found = find(pid, name)
    os.kill(found.pid, number)
    return found.pid


def worker_of(run: Path, trial_id: str) -> int:
    """Process that runs a trial of `tests.search.trivial`, from the log that it writes."""
    lines = [line.split() for line in (run / "trials.log").read_text().splitlines()]
    return next(int(pid) for i, _, pid, _, what in reversed(lines) if (i, what) == (trial_id, "start"))


def gone(pids: list[int]) -> bool:
    """Whether all these processes have ended; a zombie that nobody reaped has."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def can_mount() -> bool:
    """Whether this process may mount: root, in a namespace that allows it."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    )


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a disk of this size (``30m``) on an empty folder. Yields a function that gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)

    def resize(new: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={new}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file until the disk of this folder is full. Returns it."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
    return ballast


def damage(path: Path, how: str) -> None:
    """Damage a file: ``empty``, ``half``, ``bit`` (one, in the middle), ``missing``."""
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(data[: len(data) // 2])
    elif how == "bit":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :])
    else:
        raise AssertionError(f"unknown damage {how!r}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for TMPDIR whose path is short enough for Ray's sockets: whatever is left of a command is in it."""
    folder = Path("/tmp") / secrets.token_hex(2)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def users_of(folder: Path) -> list[psutil.Process]:
    """Living processes that have this folder as TMPDIR, or in their command line, whoever is their parent now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [process.environ().get("TMPDIR", ""), *process.cmdline()]
            is_user = any(word == str(folder) or f"{folder}/" in word for word in words)
            if is_user and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
