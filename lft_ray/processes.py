"""Identify a process reliably, and check whether it is still alive.

In: a process id. Out: a `ProcessIdentity`. A process id alone may be reused, and wall-clock start times shift when the
clock is set. An identity therefore consists of the id, the start time in the kernel's clock ticks since boot, and the
id of that boot. Never signals a process.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["ProcessIdentity", "alive", "identity_of", "this_process"]

_PROC = Path("/proc")
_TICKS_PER_S = 100
"""Resolution of start times read through psutil; the Linux kernel uses the same."""
_FIRST_FIELD = 3
"""Number of the first field after the name in /proc/PID/stat, counted from 1 as in proc(5)."""
_START_FIELD = 22
"""Number of the field with the start time."""


class ProcessIdentity(BaseModel):
    """One process: no other process of this machine ever has the same three values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    start_ticks: int
    """Start time in clock ticks since boot; on macOS in hundredths of a second since the epoch."""
    boot_id: str
    """Id of the boot: ticks of different boots cannot be compared."""


def identity_of(pid: int) -> ProcessIdentity | None:
    """Identify the process that has this id now; None if there is none, or only a zombie."""
    ticks = _linux_start_ticks(pid) if sys.platform.startswith("linux") else _psutil_start_ticks(pid)
    return None if ticks is None else ProcessIdentity(pid=pid, start_ticks=ticks, boot_id=_boot_id())


def this_process() -> ProcessIdentity:
    """Identify the calling process."""
    found = identity_of(os.getpid())
    assert found is not None  # the calling process exists
    return found


def alive(identity: ProcessIdentity) -> bool:
    """Whether this process is alive on this machine: it has not exited, and its id has not been reused."""
    return identity_of(identity.pid) == identity


def _linux_start_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field is the name in parentheses; the name itself may contain blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    state, ticks = fields[0], int(fields[_START_FIELD - _FIRST_FIELD])
    return None if state in ("Z", "X") else ticks


def _psutil_start_ticks(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * _TICKS_PER_S)
    except psutil.Error:
        return None


@cache
def _boot_id() -> str:
    known = _PROC / "sys/kernel/random/boot_id"
    if known.is_file():
        return known.read_text(encoding="ascii").strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return ""
