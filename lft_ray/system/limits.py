"""What this process may use of its machine: processor cores and memory, as limited by affinity and control groups.

In: nothing. Out: numbers. A container, a batch system or ``taskset`` may allow less than the machine has. Never raises:
a limit that cannot be read does not count.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["available_memory_bytes", "cores", "memory_bytes"]

_GROUPS = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")


def cores() -> int:
    """Number of cores that this process may use, at least 1: its affinity, and the processor quota of its containers.

    A quota of a part of a core is rounded up: 1.5 cores keep two threads busy three quarters of the time.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas())]))


def memory_bytes() -> int:
    """Bytes of memory that this process may use: those of the machine, or the limit of its container."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _memory())])


def available_memory_bytes() -> int:
    """Bytes that can still be allocated: free on the machine, and left below the limit of the container."""
    import psutil

    left = [max(0, limit - used) for limit, used in _memory()]
    return min([int(psutil.virtual_memory().available), *left])


def _folders(controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process for a controller, innermost first."""
    with suppress(OSError, ValueError):
        for line in _SELF.read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            # Version 2 has one tree and no names; version 1 has a tree per controller.
            roots = [_GROUPS / names, _GROUPS / controller] if names else [_GROUPS, _GROUPS / "unified"]
            root = next((root for root in roots if root.is_dir()), _GROUPS)
            inner = root / path.lstrip("/")
            # Inside a container the path may be that of the host, which is not visible: the root is the own group.
            inner = inner if inner.is_dir() else root
            yield from (folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents)


def _numbers(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="ascii").split()
    return []


def _quotas() -> Iterator[float]:
    for folder in _folders("cpu"):
        with suppress(ValueError, ZeroDivisionError):
            found = _numbers(folder / "cpu.max")
            if len(found) == 2 and found[0] != "max":
                yield int(found[0]) / int(found[1])
            quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
            if quota and period and int(quota[0]) > 0:
                yield int(quota[0]) / int(period[0])


def _memory() -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of each control group with a limit; page cache that can be dropped does not count."""
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder in _folders("memory"):
        for limit_name, used_name, cache in names:
            limit, used = _numbers(folder / limit_name), _numbers(folder / used_name)
            # Without a limit, version 2 says "max" and version 1 a number near 2 ** 63.
            if limit and used and limit[0].isdigit() and int(limit[0]) < 1 << 60:
                yield int(limit[0]), max(0, int(used[0]) - _statistic(folder / "memory.stat", cache))


def _statistic(path: Path, name: str) -> int:
    words = _numbers(path)
    return int(words[words.index(name) + 1]) if name in words else 0
