"""A container whose memory does not hold all trials at a time: the kernel kills a worker, and no result is lost."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lft_ray.records import TrialRecord, TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from tests.chaos.cgroups import can_limit, enter, limited
from tests.search.trivial import seen

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.stress,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not can_limit(), reason="needs the right to make a control group of memory"),
]
LIMIT = 2_000_000_000
"""Ray, the driver and two idle workers take 0.7 GB of it."""


def searched(run: Path, group: Path, hold: str) -> dict[str, TrialRecord]:
    command = [sys.executable, "-m", "tests.search.driver", str(run), "trials=5", "slots=2", "seconds=3.0", hold]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=400, preexec_fn=partial(enter, group)
    )
    assert done.returncode == 0, done.stderr
    return {record.trial_id: record for record in Ledger(Storage(run)).records()}


def kills(group: Path) -> int:
    """Processes of the group that the kernel has killed."""
    files = [path for name in ("memory.events", "memory.oom_control") if (path := group / name).exists()]
    found = re.search(r"^oom_kill (\d+)$", files[0].read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def attempts(run: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in seen(str(run)):
        counts[line.trial_id] = max(counts.get(line.trial_id, 0), line.attempt)
    return counts


def test_trials_that_fit_only_alone_run_alone_and_end_well(tmp_path, row):
    run = tmp_path / "run"
    with row("memory for one of two large trials: the kernel kills a worker") as outcome, limited(LIMIT) as group:
        records = searched(run, group, 'hold_mb={"t000":900,"t001":900}')
        killed = kills(group)
        outcome.survive(lost=sum(record.status is not TrialStatus.DONE for record in records.values()))
        outcome.note = f"{killed} kills, attempts {attempts(run)}"
    assert killed > 0, "the limit killed nothing"
    assert len(records) == 5
    assert {record.status for record in records.values()} == {TrialStatus.DONE}
    tried = attempts(run)
    assert max(tried["t000"], tried["t001"]) >= 2
    assert {tried[name] for name in ("t002", "t003", "t004")} == {1}
    _alone_at_last(run, "t000" if tried["t000"] >= 2 else "t001")


def _alone_at_last(run: Path, trial_id: str) -> None:
    """Nothing else started while the last attempt of this trial ran."""
    lines = seen(str(run))
    last = max(line.attempt for line in lines if line.trial_id == trial_id)
    began, ended = (
        next(s.at for s in lines if (s.trial_id, s.attempt, s.what) == (trial_id, last, what))
        for what in ("start", "end")
    )
    assert not [s for s in lines if s.what == "start" and s.trial_id != trial_id and began < s.at < ended]


def test_a_trial_that_fits_in_no_way_fails_with_its_cause_and_the_others_end(tmp_path, row):
    run = tmp_path / "run"
    with row("one trial larger than the memory") as outcome, limited(LIMIT) as group:
        records = searched(run, group, 'hold_mb={"t001":3000}')
        killed = kills(group)
        others = [record for name, record in records.items() if name != "t001"]
        outcome.survive(lost=sum(record.status is not TrialStatus.DONE for record in others))
        outcome.note = f"{killed} kills, t001: {records['t001'].cause}, attempts {attempts(run)}"
    assert killed >= 2
    found = records["t001"]
    assert (found.status, found.cause) == (TrialStatus.FAILED, "out_of_memory")
    assert "does not fit even alone" in found.reason, found
    assert found.attempt >= 2
    assert {record.status for record in others} == {TrialStatus.DONE}
    assert len(others) == 4
