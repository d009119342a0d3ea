"""A search whose machine fails: nothing of it is written down as the configuration's failure."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from tests.chaos.injectors import can_mount, damage, descendants, fill, gone, small_disk, wait_for, worker_of
from tests.chaos.search import experiment_of
from tests.search.trivial import seen

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.stress, pytest.mark.timeout(900)]


def run_search(experiment: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.chaos.search", str(experiment), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_a_full_disk_stops_the_search_and_a_resume_runs_the_rest(tmp_path, tiny_bert, row):
    if not can_mount():
        pytest.skip("needs the right to mount a disk")
    disk = tmp_path / "disk"
    run = disk / "run"
    with row("disk full in mid-search") as outcome, small_disk(disk, "20m") as resize:
        experiment = experiment_of(tmp_path, tiny_bert, disk)
        command = [sys.executable, "-m", "tests.chaos.search", str(experiment)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: list(run.glob("trials/*/started.json")), what="a trial is started")
            fill(disk)
            _, words = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 2, words
        assert "the disk is full" in words
        assert str(disk) in words
        assert "--resume" in words
        records = Ledger(Storage(run)).records()
        assert all(record.status is not TrialStatus.FAILED for record in records)
        resize("200m")
        ended = run_search(experiment)
        assert ended.returncode == 0, ended.stderr
        again = Ledger(Storage(run)).records()
        assert {record.status for record in again} == {TrialStatus.DONE}
        kept = [record for record in again if record.trial_id in {r.trial_id for r in records}]
        outcome.survive(lost=sum(record not in kept for record in records))
        assert kept == records


def test_a_damaged_state_costs_no_more_than_itself(tmp_path, tiny_bert, row):
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs", trials=2, checkpoint_every_s=0.0, epochs=40)
    run = tmp_path / "runs" / "run"
    process = subprocess.Popen([sys.executable, "-m", "tests.chaos.search", str(experiment)])
    try:
        wait_for(lambda: list(run.glob("trials/t001/state/*/state.json")), what="a training state is saved")
        family = [child.pid for child in descendants(process.pid)]
    finally:
        process.kill()
        process.wait()
    # A worker outlives its driver for a moment, and would save another state after the damage.
    wait_for(lambda: gone(family), timeout_s=90, what="the processes of the killed driver have ended")
    with row("training state cut in half, then a resume") as outcome:
        for part in run.glob("trials/t001/state/*/part-*.safetensors"):
            damage(part, "half")
        ended = run_search(experiment)
        assert ended.returncode == 0, ended.stderr
        record = Ledger(Storage(run)).ended("t001")
        outcome.survive(lost=int(record.status is not TrialStatus.DONE))
    assert record.status is TrialStatus.DONE
    assert "was discarded" in record.note


def attempts_of(run: Path, trial_id: str) -> list[int]:
    return [s.attempt for s in seen(str(run)) if s.trial_id == trial_id and s.what == "start"]


def test_a_worker_that_is_killed_each_time_runs_alone_and_fails_with_its_cause(tmp_path, row):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "tests.search.driver", str(run), "trials=5", "slots=2", "seconds=2.0"]
    with row("kill -9 of the same trial's worker, each time") as outcome:
        process = subprocess.Popen(command)
        try:
            for attempt in (1, 2, 3):
                wait_for(lambda a=attempt: a in attempts_of(run, "t001"), what=f"attempt {attempt} of t001 runs")
                os.kill(worker_of(run, "t001"), signal.SIGKILL)
                outcome.survive()
            assert process.wait(timeout=300) == 0
        finally:
            process.kill()
            process.wait()
        records = {record.trial_id: record for record in Ledger(Storage(run)).records()}
        outcome.lost += sum(r.status is not TrialStatus.DONE for i, r in records.items() if i != "t001")
    assert (records["t001"].status, records["t001"].cause) == (TrialStatus.FAILED, "worker_killed")
    assert records["t001"].attempt == 3
    assert {r.status for i, r in records.items() if i != "t001"} == {TrialStatus.DONE}
    # Alone: nothing else started between the start of its second attempt and the end of the third.
    lines = seen(str(run))
    second = next(s.at for s in lines if (s.trial_id, s.attempt) == ("t001", 2))
    third = next(s.at for s in lines if (s.trial_id, s.attempt) == ("t001", 3))
    assert not [s for s in lines if s.what == "start" and s.trial_id != "t001" and second < s.at < third]
    assert json.loads((run / "trials" / "t001" / "record.json").read_text())["usage"]["core_s"] < 60
