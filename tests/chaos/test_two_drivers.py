"""Further drivers are started on a run that is being searched: each is refused, and the first does not notice."""

import json
from pathlib import Path

import pytest

from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from tests.chaos.command import Search, started
from tests.chaos.injectors import temporary_folder, wait_for
from tests.chaos.search import experiment_of

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.stress, pytest.mark.timeout(900)]


def settled_files(run: Path) -> dict[Path, tuple[int, bytes]]:
    """Files of the run that are written once: inode and content."""
    names = ["experiment.yaml", "dataset.json", "candidates.json", "profiles.json"]
    paths = [run / name for name in names] + [p for n in ("record", "started") for p in run.glob(f"trials/*/{n}.json")]
    return {path: (path.stat().st_ino, path.read_bytes()) for path in paths if path.exists()}


def refused(experiment: Path, run: Path, first: Search, option: str) -> tuple[int, int]:
    """Start another driver. Returns the number of files that it changed, and of those that it left."""
    before, lock = settled_files(run), json.loads((run / "driver.lock").read_text())["process"]
    with temporary_folder() as temporary, started(experiment, run, temporary, *([option] if option else [])) as second:
        assert second.end(60) == 2, second.said()
        said = second.said()
        assert "is in use by process" in said, said
        assert f":{first.process.pid}" in said, said
        assert "fix:" in said, said
        assert "Traceback" not in said, said
        left = len(list(temporary.iterdir()))
    assert first.process.poll() is None, first.said()
    now = settled_files(run)
    changed = sum(now.get(path) != found for path, found in before.items())
    return changed + (json.loads((run / "driver.lock").read_text())["process"] != lock), left


def test_a_second_driver_is_refused_and_changes_nothing(tmp_path, tiny_bert, row):
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs", epochs=200)
    run = tmp_path / "runs" / "run"
    fault = "a second driver (--resume, --replace, neither) during prepare, profile and search"
    with row(fault) as outcome, temporary_folder() as temporary, started(experiment, run, temporary) as first:
        places = {
            "prepare": lambda search: search.at("driver.lock"),
            "profile": lambda search: "profiling" in search.said(),
            "search": lambda search: search.runs_trial("t"),
        }
        for name, reached in places.items():
            assert first.wait_until(reached, 240), (name, first.said())
            for option in ("--resume", "--replace", "") if name == "search" else ("--replace",):
                changed, left = refused(experiment, run, first, option)
                outcome.survive(lost=changed, left=left)
        assert first.end(600) == 0, first.said()
        assert first.settled(20) == []
    records = Ledger(Storage(run)).records()
    assert {record.trial_id for record in records} >= {"t000", "t001", "t002"}
    assert {(record.status, record.attempt) for record in records} == {(TrialStatus.DONE, 1)}
    assert (outcome.lost, outcome.left) == (0, 0)


def test_of_two_drivers_that_start_at_once_one_is_refused(tmp_path, tiny_bert, row, rounds):
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs")
    run = tmp_path / "runs" / "run"
    with row("two drivers that start at once, --replace both") as outcome:
        for _ in range(rounds(6, 2)):
            with (
                temporary_folder() as one,
                temporary_folder() as two,
                started(experiment, run, one, "--replace") as a,
                started(experiment, run, two, "--replace") as b,
            ):
                # Neither waits for the other: one holds the run, and the other is told so.
                wait_for(lambda a=a, b=b: a.has_ended or b.has_ended, timeout_s=90, what="one of them is refused")
                loser, winner = (a, b) if a.has_ended else (b, a)
                assert loser.end(10) == 2, loser.said()
                assert f":{winner.process.pid}" in loser.said(), loser.said()
                assert "is in use by process" in loser.said(), loser.said()
                assert winner.wait_until(lambda search: search.at("dataset.json"), 60), winner.said()
                winner.process.terminate()
                assert winner.end(45) == 143, winner.said()
                left = [*winner.settled(20), *loser.settled(20)]
            outcome.survive(left=len(left))
    assert outcome.left == 0, left
