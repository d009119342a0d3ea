"""Cores and memory of containers."""

import os

import psutil
import pytest

from lft_ray.system import limits


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A tree of control groups; returns a function that writes a file and names the group of this process."""
    monkeypatch.setattr(limits, "_GROUPS", tmp_path / "fs")
    monkeypatch.setattr(limits, "_SELF", tmp_path / "self")

    def write(line, **files):
        (tmp_path / "self").write_text(line + "\n")
        for name, content in files.items():
            path = tmp_path / "fs" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def test_affinity_counts(monkeypatch, groups):
    groups("")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert limits.cores() == 1


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)])
def test_the_quota_of_a_container_counts(monkeypatch, groups, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    groups("0::/job/inner", job__inner__cpu_dot_max="max 100000", job__cpu_dot_max=quota)
    assert limits.cores() == expected


def test_version_1_of_control_groups(monkeypatch, groups):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    groups(
        "4:cpu,cpuacct:/docker/x\n5:memory:/docker/x",
        cpu__cpu_dot_cfs_quota_us="300000",
        cpu__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes="1000000",
        memory__memory_dot_usage_in_bytes="900000",
        memory__memory_dot_stat="cache 1\ntotal_inactive_file 300000\n",
    )
    assert limits.cores() == 3
    assert limits.memory_bytes() == 1_000_000
    assert limits.available_memory_bytes() == 400_000


def test_a_limit_of_memory_counts_with_what_is_used_below_it(groups):
    groups("0::/", memory_dot_max="2000000", memory_dot_current="1500000", memory_dot_stat="inactive_file 100000\n")
    assert limits.memory_bytes() == 2_000_000
    assert limits.available_memory_bytes() == 600_000


def test_without_limits_the_machine_counts(groups):
    groups("0::/", memory_dot_max="max", memory_dot_current="1")
    assert limits.memory_bytes() == psutil.virtual_memory().total
    assert limits.cores() >= 1


def test_unreadable_files_do_not_count(groups):
    groups("nonsense", cpu_dot_max="what is this")
    assert limits.cores() >= 1
