"""A run is touched by who holds it, and only then: refused starts, replaced runs, what killed processes left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lft_ray.config import Experiment
from lft_ray.errors import DamagedFileError, InputError, UnreachableError
from lft_ray.run.files import read_notes
from lft_ray.run.folder import RunFolder
from tests.run.test_lock import HOLD


def experiment(tmp_path: Path, **more) -> Experiment:
    return Experiment.model_validate(
        {"name": "a", "data": {"train": "a.csv"}, "models": [{"base": "tfidf"}], "storage": str(tmp_path)} | more
    )


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """A run with one trial."""
    found = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    found.storage.put("trials/t000/record.json", "{}")
    return found


@pytest.fixture
def other_driver(run):
    process = subprocess.Popen([sys.executable, "-c", HOLD, run.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize(("resume", "replace"), [(True, False), (False, True)])
def test_a_live_run_is_not_touched(run, other_driver, tmp_path, resume, replace):
    before = {path: path.read_bytes() for path in Path(run.uri).rglob("*.[jy]*") if path.name != "driver.lock"}
    changed = experiment(tmp_path, search={"trials": 99})
    with pytest.raises(InputError, match=f":{other_driver.pid}"):
        RunFolder.begin(changed, resume=resume, replace=replace)
    after = {path: path.read_bytes() for path in Path(run.uri).rglob("*.[jy]*") if path.name != "driver.lock"}
    assert after == before


def drive(wanted: Experiment, *, replace: bool = False, settle: bool = False) -> None:
    """Start a run on a cluster that cannot be reached."""
    with RunFolder.driven(wanted, resume=False, replace=replace) as run:
        run.storage.put("dataset.json", "{}")
        if settle:
            run.settle()
        raise UnreachableError("no cluster")


def test_a_refused_start_leaves_no_folder(tmp_path):
    with pytest.raises(UnreachableError):
        drive(experiment(tmp_path))
    assert not (tmp_path / "a").exists()


def test_a_refused_start_puts_back_the_run_that_it_was_to_replace(run, tmp_path):
    before = (tmp_path / "a/experiment.yaml").read_bytes()
    with pytest.raises(UnreachableError):
        drive(experiment(tmp_path, search={"trials": 99}), replace=True)
    assert (tmp_path / "a/experiment.yaml").read_bytes() == before
    assert run.storage.exists("trials/t000/record.json")
    assert not run.storage.exists("dataset.json")
    assert not list((tmp_path / "a").glob(".replaced-*"))


def test_a_settled_start_is_kept_and_the_old_run_deleted(run, tmp_path):
    with pytest.raises(UnreachableError):
        drive(experiment(tmp_path, search={"trials": 99}), replace=True, settle=True)
    assert run.experiment().search.trials == 99
    assert not run.storage.exists("trials/t000")
    assert not list((tmp_path / "a").glob(".replaced-*"))


def test_a_process_killed_while_it_replaced_a_run_loses_no_trial(run, tmp_path):
    aside = tmp_path / "a" / ".replaced-0123abcd"
    aside.mkdir()
    (tmp_path / "a" / "trials").rename(aside / "trials")
    RunFolder.begin(experiment(tmp_path), resume=True, replace=False)
    assert run.storage.exists("trials/t000/record.json")
    assert not aside.exists()


def test_what_killed_processes_left_is_removed_and_nothing_else(run, tmp_path):
    folder = tmp_path / "a"
    left = [".front.json.25f799a4", "trials/t000/.result-1.json.0011aabb", ".write-test-00ff00ff"]
    kept = [".mine", "notes.txt", ".hidden.json", "trials/t000/record.json"]
    for name in [*left, *kept]:
        (folder / name).write_text("x")
    folders = [
        ".bundle-candidate.0a1b2c3d",
        "bundle-candidate",
        ".bundle.old-0a1b2c3d",
        "trials/t000/.checkpoint.0a1b2c3d",
    ]
    for name in folders:
        (folder / name).mkdir()
        (folder / name / "weights").write_text("x")
    RunFolder.begin(experiment(tmp_path), resume=True, replace=False)
    assert [name for name in [*left, *folders] if (folder / name).exists()] == []
    assert [name for name in kept if not (folder / name).exists()] == []


def test_unreadable_bookkeeping_is_set_aside_and_said(run):
    run.storage.put("stages.json", b"{\xff")
    with pytest.warns(UserWarning, match=r"stages\.json is ignored: is damaged"):
        run.add_stage_seconds("search", 2.0)
    assert json.loads(run.storage.get("stages.json")) == {"search": 2.0}
    (aside,) = Path(run.uri).glob("stages.json.unreadable-*")
    assert aside.read_bytes() == b"{\xff"
    assert read_notes(run.storage, "missing.json", dict[str, float]) == {}


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe", b"- 1\n", b"a: b: c", b""])
def test_a_damaged_experiment_is_named(run, content):
    run.storage.put("experiment.yaml", content)
    with pytest.raises(DamagedFileError, match=r"experiment\.yaml is damaged"):
        run.experiment()


def test_older_trials_keep_the_versions_they_ran_under(run):
    run.note_environment({"torch": "2.12", "python": "3.11"})
    run.note_environment({"torch": "2.12", "python": "3.11"})
    assert run.environments() == {"torch": "2.12", "python": "3.11"}
    run.note_environment({"torch": "2.13", "python": "3.11"})
    run.storage.put("trials/t001/record.json", "{}")
    run.note_environment({"torch": "2.14", "python": "3.11"})
    assert run.environment() == {"torch": "2.14", "python": "3.11"}
    assert run.environments() == {
        "torch": "2.14",
        "python": "3.11",
        "trials t000": {"torch": "2.12"},
        "trials t001": {"torch": "2.13"},
    }


def test_a_resume_that_would_delete_the_run_is_refused(run, tmp_path):
    with (
        pytest.raises(InputError, match="--replace deletes the run that --resume"),
        RunFolder.driven(experiment(tmp_path), resume=True, replace=True),
    ):
        pass
    assert run.storage.exists("trials/t000/record.json")


def test_a_resume_of_nothing_says_so(tmp_path):
    told = []
    with RunFolder.driven(experiment(tmp_path, name="new"), resume=True, replace=False, log=told.append) as begun:
        assert told == [f"there is no run at {begun.uri} to continue: it begins now"]
