"""The disk is full at the n-th write of a run, for every n: what was written before stays, and the run goes on."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lft_ray.causes import EndCause, cause_of
from lft_ray.errors import StorageError
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger, driver_lock, put_result
from lft_ray.run.storage import Storage
from tests.run.test_ledger import record_of, result, started

pytestmark = [pytest.mark.chaos]
NAMES = ("t000", "t001", "t002")


class FullDisk:
    """Lets ``writes`` steps through, then fails each one as a full disk does."""

    def __init__(self, writes: int) -> None:
        self.left, self.hits = writes, 0

    def step(self) -> None:
        if self.left <= 0:
            self.hits += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1


@contextmanager
def full_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    """Every sync to the disk and every rename of the storage is a step."""
    disk = FullDisk(writes)
    sync, rename = os.fsync, Path.replace

    def full_sync(handle: int) -> None:
        disk.step()
        sync(handle)

    def full_rename(path: Path, target: Path) -> Path:
        disk.step()
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_sync)
        patched.setattr(Path, "replace", full_rename)
        yield disk


def study(run: Path) -> None:
    """What a driver writes for its trials, in this order; goes on where an earlier call was cut off."""
    with driver_lock(Storage(run)):
        ledger = Ledger(Storage(run))
        ledger.adopt(record_of)
        begun = {trial.trial_id: trial for trial in ledger.started()}
        for name in NAMES:
            if ledger.get(name) is not None:
                continue
            if name not in begun:
                ledger.start(begun.setdefault(name, started(name)))
            put_result(ledger.storage, found := result(1, "done", name))
            ledger.put(record_of(found, begun[name]))


def test_a_disk_that_is_full_at_any_write_costs_nothing_that_was_written(tmp_path, monkeypatch, row):
    with row("disk full at the n-th write of the ledger, every n") as outcome:
        causes = set()
        for writes in range(200):
            run = tmp_path / str(writes)
            try:
                with full_after(writes, monkeypatch) as disk:
                    study(run)
            except (OSError, StorageError) as error:
                causes.add(cause_of(error))
            if not disk.hits:
                break
            readable = Ledger(Storage(run)).records()
            study(run)
            records = {record.trial_id: record for record in Ledger(Storage(run)).records()}
            lost = sum(records.get(record.trial_id) != record for record in readable)
            left = [path for path in run.rglob(".*") if path.is_file() and "guard" not in path.name]
            outcome.survive(lost=lost, left=len(left))
            assert sorted(records) == list(NAMES)
            assert {record.status for record in records.values()} == {TrialStatus.DONE}
    assert causes == {EndCause.DISK_FULL}
    assert outcome.injected > 10, "the faults were not injected"
    assert (outcome.lost, outcome.left) == (0, 0)
