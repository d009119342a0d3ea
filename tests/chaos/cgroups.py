"""A control group with a limit on memory, made for a test and removed after it. Version 1 and 2 of Linux.

In: a limit in bytes. Out: a folder of the kernel whose processes share that memory. Never changes another group.
"""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["can_limit", "enter", "limited"]

_ROOT = Path("/sys/fs/cgroup")


def _parent() -> Path:
    """Version 1 has a folder of its own for memory."""
    return _ROOT / "memory" if (_ROOT / "memory").is_dir() else _ROOT


def _limits(group: Path) -> list[Path]:
    """Files of a group that limit its memory, in the order in which they can be lowered."""
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max")
    return [group / name for name in names if (group / name).exists()]


def can_limit() -> bool:
    """Whether this process may make such a group."""
    try:
        with limited(1 << 30):
            return True
    except OSError:
        return False


@contextmanager
def limited(limit_bytes: int) -> Iterator[Path]:
    """A new group whose processes may use so much memory together. They are killed at the end, and it is removed."""
    group = _parent() / f"lft-chaos-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        files = _limits(group)
        if not files:
            raise OSError(f"{_parent()} has no controller of memory")
        for file in files:
            file.write_text("0" if file.name == "memory.swap.max" else str(limit_bytes))
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def enter(group: Path) -> None:
    """Move this process into the group; its children will be in it too. For ``preexec_fn``."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
