"""The driver and its workers are killed at random moments: nothing that finished is lost, and the end is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lft_ray.records import TrialRecord, TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.system import scratch
from tests.chaos.injectors import descendants, gone, wait_for
from tests.chaos.search import experiment_of

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.stress, pytest.mark.timeout(3000)]
TRIALS = 5


def start(experiment: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.chaos.search", str(experiment)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(experiment: Path) -> None:
    process = start(experiment)
    try:
        _, words = process.communicate(timeout=900)
    finally:
        process.kill()
    assert process.returncode == 0, words


def records_of(run: Path) -> dict[str, TrialRecord]:
    """Records of a run; read by no one else, so that a killed driver's lock does not matter."""
    return {record.trial_id: record for record in Ledger(Storage(run)).records()}


def essence(records: dict[str, TrialRecord]) -> dict[str, tuple[object, ...]]:
    """What must be equal between an undisturbed search and one that was killed."""
    return {
        name: (record.config, record.status, record.role, [round(v.f1, 6) for v in record.variants])
        for name, record in records.items()
    }


@pytest.fixture
def undisturbed(tmp_path, tiny_bert) -> dict[str, tuple[object, ...]]:
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "calm", trials=TRIALS, epochs=6)
    finish(experiment)
    return essence(records_of(tmp_path / "calm" / "run"))


def test_a_driver_that_is_killed_again_and_again_loses_nothing(tmp_path, tiny_bert, undisturbed, row, rounds):
    place = random.Random(7)
    scratch.sweep()
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "chaos", trials=TRIALS, epochs=6)
    run, known = tmp_path / "chaos" / "run", {}
    with row("kill -9 of the driver, at random moments") as outcome:
        for _ in range(rounds(20)):
            process = start(experiment)
            try:
                # From the imports to the middle of the trials; later rounds find most of the work done.
                time.sleep(place.uniform(0.2, 14.0))
                family = [child.pid for child in descendants(process.pid)]
            finally:
                process.kill()
                process.wait()
            now = records_of(run) if (run / "trials").is_dir() else {}
            lost = sum(now.get(name) != record for name, record in known.items())
            known = now
            wait_for(lambda family=family: gone(family), timeout_s=90, what="the processes of a killed driver ended")
            outcome.survive(lost=lost)
        finish(experiment)
        assert essence(records_of(run)) == undisturbed
        # The folders of a killed driver are removed by the next one: none is left to sweep.
        outcome.left += len(scratch.sweep())
        litter = [path for path in run.rglob(".*") if path.is_file() and path.suffix not in (".lock", ".guard")]
        outcome.left += len(litter)
    assert (outcome.lost, outcome.left) == (0, 0), litter


def test_workers_that_are_killed_cost_their_own_trial_a_step(tmp_path, tiny_bert, row, rounds):
    place = random.Random(11)
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs", trials=TRIALS, epochs=60, checkpoint_every_s=1.0)
    run = tmp_path / "runs" / "run"
    process = start(experiment)
    with row("kill -9 of a worker in mid-trial") as outcome:
        try:
            due = time.monotonic()
            while outcome.injected < rounds(10) and process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() < due:
                    continue
                # The name that Ray gives to the actor of a Tune function.
                busy = [child for child in descendants(process.pid) if "ray::ImplicitFunc" in " ".join(_words(child))]
                if not busy:
                    continue
                before = records_of(run)
                os.kill(place.choice(busy).pid, signal.SIGKILL)
                due = time.monotonic() + place.uniform(2.0, 6.0)
                outcome.survive(lost=sum(records_of(run).get(name) != record for name, record in before.items()))
            _, words = process.communicate(timeout=1200)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, words
    records = records_of(run)
    assert len(records) >= TRIALS
    # A worker that is killed each time, alone as well, is the one failure that may be recorded, with its cause.
    failed = [record for record in records.values() if record.status is TrialStatus.FAILED]
    assert all(record.cause == "worker_killed" and record.attempt >= 3 for record in failed)
    assert outcome.injected > 0, "no worker was killed"
    assert outcome.lost == 0


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
