"""Memory of this machine or container, and how often its kernel has killed a process for lack of it. Linux.

In: files of the kernel. Out: bytes, counts. Both control group versions; without either, the machine. Never kills.
"""

from pathlib import Path

import psutil

__all__ = ["OomWatch", "memory_there", "oom_kills"]

_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Version 1 says "no limit" with the largest multiple of a page."""


class OomWatch:
    """Counts the kernel's kills for lack of memory since it was made, or since the last look."""

    def __init__(self) -> None:
        self._seen = oom_kills()

    def look(self) -> int:
        """Number of new kills."""
        now = oom_kills()
        new, self._seen = max(0, now - self._seen), now
        return new


def memory_there() -> float:
    """Bytes that the processes of this machine or container may use together."""
    found = [float(psutil.virtual_memory().total)]
    for folder in _folders():
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit() and int(text) < _UNLIMITED:
                found.append(float(text))
    return min(found)


def oom_kills() -> int:
    """Processes that the kernel has killed for lack of memory in this container; on a machine, anywhere."""
    for folder in _folders():
        for name in ("memory.events", "memory.oom_control"):
            if (count := _field(folder / name, "oom_kill")) is not None:
                return count
    return _field(Path("/proc/vmstat"), "oom_kill") or 0


def _folders() -> list[Path]:
    """The control group of this process, its parents, and the root, which is a container's own group."""
    found = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        root = _GROUPS / "memory" if kinds else _GROUPS
        own = root / path.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]
    return found or [_GROUPS]


def _field(path: Path, name: str) -> int | None:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
