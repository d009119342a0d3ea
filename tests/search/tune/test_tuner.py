"""Trivial trials through a real local Ray cluster: promises that hold when processes die."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lft_ray.errors import InputError
from lft_ray.records import TrialRecord, TrialStatus
from lft_ray.run.ledger import Ledger, driver_lock
from lft_ray.run.storage import Storage
from lft_ray.search.interfaces import NullListener
from lft_ray.selection.front import front, points_of
from tests.search.driver import search
from tests.search.trivial import Seen, seen

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TRIALS = 8


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory) -> tuple[str, list[TrialRecord]]:
    run_uri = str(tmp_path_factory.mktemp("undisturbed"))
    return run_uri, search(run_uri, cluster, trials=TRIALS, sampler="tpe")


def summary(records: list[TrialRecord]) -> list[tuple]:
    return [(r.trial_id, r.config, r.status, [v.f1 for v in r.variants]) for r in records]


def starts(run_uri: str) -> list[Seen]:
    return [s for s in seen(run_uri) if s.what == "start"]


def at_once(lines: list[Seen]) -> int:
    """Most trials that ran at the same time."""
    most = now = 0
    for line in sorted(lines, key=lambda s: s.at):
        now += 1 if line.what == "start" else -1
        most = max(most, now)
    return most


class Watch(NullListener):
    def __init__(self, act: Callable[[str], None]):
        self.act = act

    def on_point(self, trial_id, point):
        self.act(trial_id)


def test_every_trial_runs_once_in_warm_workers(undisturbed):
    run_uri, records = undisturbed
    assert [r.trial_id for r in records] == [f"t{i:03d}" for i in range(TRIALS)]
    assert {r.status for r in records} == {TrialStatus.DONE}
    assert [r.start for r in records] == [True] * 5 + [False] * 3
    lines = starts(run_uri)
    assert sorted(s.trial_id for s in lines) == [r.trial_id for r in records]
    assert len({s.pid for s in lines}) <= 2
    assert at_once(seen(run_uri)) <= 2
    # 0.03 s at rest; a worker's first trial waits 3-10 s for it to start, and with no reuse every trial would.
    assert sorted(r.overhead_s for r in records)[TRIALS // 2] < 3.0


def test_a_finished_search_is_not_run_again(cluster, undisturbed):
    run_uri, records = undisturbed
    before = len(seen(run_uri))
    assert search(run_uri, cluster, trials=TRIALS, sampler="tpe") == records
    assert len(seen(run_uri)) == before


@pytest.fixture
def driver(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    processes = []

    def start(**options) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.search.driver", str(tmp_path)]
        process = subprocess.Popen([*command, *(f"{k}={v}" for k, v in options.items())], stderr=subprocess.DEVNULL)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for_records(run_uri: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while sum(1 for _ in run_uri.glob("trials/*/record.json")) < count:
        assert time.monotonic() < deadline, "the driver did not get that far"
        time.sleep(0.05)


@pytest.mark.chaos
def test_a_driver_that_is_killed_loses_and_repeats_nothing(cluster, undisturbed, driver, tmp_path):
    process = driver(trials=TRIALS, sampler='"tpe"', seconds=1.5)
    rng = random.Random(20261123)
    wait_for_records(tmp_path, 3)
    with pytest.raises(InputError, match=f":{process.pid}"), driver_lock(Storage(tmp_path)):
        pass
    time.sleep(rng.uniform(0.0, 1.2))
    process.kill()
    process.wait()
    before = Ledger(Storage(tmp_path)).records()
    assert 3 <= len(before) < TRIALS
    with driver_lock(Storage(tmp_path)):
        records = search(str(tmp_path), cluster, trials=TRIALS, sampler="tpe")
    kept = {r.trial_id for r in before}
    assert [r for r in records if r.trial_id in kept] == before
    assert summary(records) == summary(undisturbed[1])
    # Finished trials once; those that ran when it died at most twice, under another attempt.
    tries = {r.trial_id: [s.attempt for s in starts(str(tmp_path)) if s.trial_id == r.trial_id] for r in records}
    assert all(tries[trial_id] == [1] for trial_id in kept)
    assert all(len(set(attempts)) == len(attempts) for attempts in tries.values())


@pytest.mark.chaos
def test_an_interrupt_ends_soon_and_resumes(cluster, undisturbed, driver, tmp_path):
    process = driver(trials=TRIALS, sampler='"tpe"', seconds=20)
    deadline = time.monotonic() + 240
    while not seen(str(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    # 2 s at rest, where the trials that run need 20 s each: it does not wait for them.
    assert process.wait(timeout=60) == 130
    ledger = Ledger(Storage(tmp_path))
    assert ledger.records() == []
    assert [t.trial_id for t in ledger.unfinished()] == ["t000", "t001"]
    assert not (tmp_path / "driver.lock").exists()
    records = search(str(tmp_path), cluster, trials=TRIALS, sampler="tpe")
    assert summary(records) == summary(undisturbed[1])
    assert [r.attempt for r in records[:3]] == [2, 2, 1]


@pytest.mark.chaos
def test_a_worker_that_is_killed_is_replaced_for_the_rest_of_the_run(cluster, tmp_path):
    """With Tune's own limit on concurrency the slot is lost: 2 trials at a time become 1."""
    killed = []

    def kill(trial_id: str) -> None:
        if trial_id == "t002" and not killed:
            killed.append(next(s.pid for s in starts(str(tmp_path)) if s.trial_id == trial_id))
            os.kill(killed[0], signal.SIGKILL)

    records = search(
        str(tmp_path),
        cluster,
        trials=14,
        deterministic=False,
        listener=Watch(kill),
        seconds=1.5,
        sampler="random",
        fail="t001",
    )
    assert len(killed) == 1
    by_id = {r.trial_id: r for r in records}
    assert (by_id["t002"].status, by_id["t002"].attempt) == (TrialStatus.DONE, 2)
    assert (by_id["t001"].status, by_id["t001"].attempt) == (TrialStatus.FAILED, 3)
    assert "RuntimeError: out of luck" in by_id["t001"].reason
    assert by_id["t001"].training_usd > 0
    others = [r for r in records if r.trial_id not in ("t002", "t001")]
    assert {(r.status, r.attempt) for r in others} == {(TrialStatus.DONE, 1)}
    last = {r.trial_id for r in records[-5:]}
    assert at_once([s for s in seen(str(tmp_path)) if s.trial_id in last]) == 2


def stops_some(seed):
    """A rule that stops three trials at their first point, one of them the last but one."""
    del seed
    return lambda standing: "enough seen" if standing.trial.trial_id in {"t001", "t006", "t008"} else ""


def test_a_trial_that_a_rule_stops_keeps_its_curve_and_its_worker_and_is_no_point_of_the_front(cluster, tmp_path):
    """Ray's own searcher would record a partly trained trial as complete, with its low cost."""
    rule = "tests.search.tune.test_tuner:stops_some"
    records = search(str(tmp_path), cluster, trials=10, sampler="tpe", scheduler=rule, notes_core_s=5.0)
    stopped = [r for r in records if r.status is TrialStatus.STOPPED]
    assert [(r.trial_id, r.reason, len(r.curve), r.variants) for r in stopped] == [
        (trial_id, "enough seen", 1, []) for trial_id in ("t001", "t006", "t008")
    ]
    assert not {r.trial_id for r in stopped} & {point.trial_id for point in front(points_of(records))}
    assert sum(r.status is TrialStatus.DONE for r in records) == 7
    # Charged with what its worker noted; what it noted and saved is gone.
    assert {r.usage.core_s for r in stopped} == {5.0}
    assert not any((tmp_path / "trials" / r.trial_id / "state").exists() for r in stopped)
    # The trials after it run in the same two processes, and none had to wait for a new one.
    lines = starts(str(tmp_path))
    assert len({s.pid for s in lines}) == 2
    assert all(s.attempt == 1 for s in lines)
    # A stopped trial never ran on behind our back.
    assert {s.trial_id for s in seen(str(tmp_path)) if s.what == "end"} == {r.trial_id for r in records} - {
        r.trial_id for r in stopped
    }
    assert search(str(tmp_path), cluster, trials=10, sampler="tpe", scheduler=rule) == records


def test_a_built_in_rule_stops_the_same_trials_in_every_run_of_deterministic_mode(cluster, tmp_path):
    """The slots race each other, so that the trials beside one that is judged stand elsewhere in each run."""
    runs = [
        search(str(tmp_path / name), cluster, trials=30, sampler="random", scheduler="mo_asha", seconds=seconds)
        for name, seconds in (("slow", 0.3), ("fast", 0.05))
    ]
    assert summary(runs[0]) == summary(runs[1])
    stopped = [r for r in runs[0] if r.status is TrialStatus.STOPPED]
    assert 3 <= len(stopped) < 25
    assert all("behind at 33% of its schedule" in r.reason for r in stopped)
    assert not any(r.start for r in stopped)


def test_a_ledger_that_cannot_be_written_ends_the_study_with_its_own_error(cluster, tmp_path):
    class Full(NullListener):
        def on_record(self, record):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        search(str(tmp_path), cluster, trials=7, sampler="random", listener=Full())
    # Its result was recorded before; nothing was rerun as a failed trial.
    assert all(s.attempt == 1 for s in starts(str(tmp_path)))
    assert len(Ledger(Storage(tmp_path)).records()) == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_trial_that_hangs_past_the_deadline_is_stopped(cluster, tmp_path, monkeypatch):
    # The first trial is the linear one, which has a longer limit of its own.
    monkeypatch.setattr("lft_ray.search.tune.scheduler.OVERRUN_S", 1.0)
    monkeypatch.setattr("lft_ray.search.tune.scheduler.LINEAR_OVERRUN_S", 1.0)
    began = time.monotonic()
    records = search(str(tmp_path), cluster, trials=1, seconds=600, deadline=time.time() + 20.0)
    assert [s.what for s in seen(str(tmp_path))] == ["start"]
    assert [(r.trial_id, r.status, r.variants) for r in records] == [("t000", "stopped", [])]
    # Tune gives the hanging worker 15 s to end before it kills it.
    assert time.monotonic() - began < 90
