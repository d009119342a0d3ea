"""Which process is which, and whether it still lives. In: a process id. Out: a `ProcessIdentity`. Ends nothing.

A process id alone is given again to another process, and start times on the wall clock move when the clock is set. So
an identity is the id, the kernel's count of clock ticks at which the process started, and the boot they count from.
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
"""Of a start time that comes from psutil; the kernel of Linux counts with the same step."""
_FIRST_FIELD = 3
"""Number of the first field of /proc/PID/stat that stands after the name."""
_START_FIELD = 22


class ProcessIdentity(BaseModel):
    """One process: no other one before or after it, on this machine, has the same three values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    start_ticks: int
    """When it started, in clock ticks since boot; on macOS in hundredths of a second, as the kernel noted it."""
    boot_id: str
    """Id of the machine's boot: ticks of two boots cannot be compared."""


def identity_of(pid: int) -> ProcessIdentity | None:
    """The process that has this id now; None where there is none, or only a zombie that waits to be reaped."""
    ticks = _linux_start_ticks(pid) if sys.platform.startswith("linux") else _psutil_start_ticks(pid)
    return None if ticks is None else ProcessIdentity(pid=pid, start_ticks=ticks, boot_id=_boot_id())


def this_process() -> ProcessIdentity:
    """The process that calls."""
    found = identity_of(os.getpid())
    assert found is not None  # whoever asks runs
    return found


def alive(identity: ProcessIdentity) -> bool:
    """Whether this very process lives on this machine: it has not exited, and its id was not given to another one."""
    return identity_of(identity.pid) == identity


def _linux_start_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field is the name in parentheses, and a name may hold blanks and parentheses of its own.
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
