from pathlib import Path

import pytest

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError, InputError
from lft_ray.processes import this_process
from lft_ray.records import Bundle, Endpoint
from lft_ray.run.flock import COMMAND_LOCK, ENDPOINT_LOCK, FileLock
from lft_ray.run.folder import RunFolder


def experiment(tmp_path, **changes):
    tree = {"name": "a", "data": {"train": "x.csv"}, "models": [{"base": "tfidf"}], "storage": str(tmp_path)}
    return Experiment.parse({**tree, **changes})


def test_begin_refuses_an_existing_run_and_says_how_to_go_on(tmp_path):
    RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    with pytest.raises(InputError, match="exists") as caught:
        RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    assert "--resume" in caught.value.fix
    assert "--replace" in caught.value.fix


def test_resume_allows_more_trials_but_not_another_space(tmp_path):
    RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run = RunFolder.begin(experiment(tmp_path, search={"trials": 99}), resume=True, replace=False)
    assert run.experiment().search.trials == 99
    with pytest.raises(ConfigError, match=r"training.max_length: was 128, now 64"):
        RunFolder.begin(experiment(tmp_path, training={"max_length": 64}), resume=True, replace=False)


def test_replace_deletes_what_was_there(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.put_json("stages.json", {"search": 3})
    assert not RunFolder.begin(experiment(tmp_path), resume=False, replace=True).storage.exists("stages.json")


def test_find_names_the_nearest_run(tmp_path):
    RunFolder.begin(experiment(tmp_path, name="news"), resume=False, replace=False)
    with pytest.raises(InputError, match="Did you mean 'news'"):
        RunFolder.find(tmp_path / "new")


def test_a_damaged_record_is_named(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.storage.put("bundle.json", '{"uri": "x", "surprise": 1}')
    with pytest.raises(InputError, match=r"bundle\.json is damaged or of another version: version: Field required"):
        run.get("bundle.json", Bundle)


def test_stage_seconds_add_up(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.add_stage_seconds("search", 2.0)
    run.add_stage_seconds("search", 1.5)
    assert run.json("stages.json") == {"search": 3.5}


def test_a_run_that_serves_is_not_replaced(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    mine = this_process()
    live = Endpoint(url="http://127.0.0.1:1", version="v", process=mine, ports={}, state="ready", bundle_uri="")
    run.put("endpoint.json", live)
    with pytest.raises(InputError, match="serves a live endpoint"):
        RunFolder.begin(experiment(tmp_path), resume=False, replace=True)
    gone = mine.model_copy(update={"start_ticks": mine.start_ticks - 1})
    run.put("endpoint.json", live.model_copy(update={"process": gone}))
    RunFolder.begin(experiment(tmp_path), resume=False, replace=True)
    assert not run.storage.exists("endpoint.json")


@pytest.mark.parametrize("changes", [{"state": "starting"}, {"state": "ready", "process": None, "address": "h:1"}])
def test_replace_refuses_an_endpoint_that_starts_or_that_a_cluster_keeps(tmp_path, changes):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    known = {"url": "http://h:1", "version": "v", "process": this_process(), "ports": {}, "bundle_uri": ""}
    run.put("endpoint.json", Endpoint(**{**known, **changes}))
    with pytest.raises(InputError, match="serves a live endpoint"):
        RunFolder.begin(experiment(tmp_path), resume=False, replace=True)
    assert run.storage.exists("experiment.yaml")


@pytest.mark.parametrize("name", [ENDPOINT_LOCK, COMMAND_LOCK])
def test_replace_refuses_a_run_whose_endpoint_is_held_whatever_its_record_says(tmp_path, name):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    lock = FileLock(Path(run.uri) / name, "lft deploy")
    assert lock.acquire(wait_s=0)
    with pytest.raises(InputError, match=r"lft deploy \(process"):
        RunFolder.begin(experiment(tmp_path), resume=False, replace=True)
    lock.release()
    RunFolder.begin(experiment(tmp_path), resume=False, replace=True)


def test_an_endpoint_file_of_another_version_is_named_before_anything_is_deleted(tmp_path):
    run = RunFolder.begin(experiment(tmp_path), resume=False, replace=False)
    run.storage.put("endpoint.json", b'{"pid": 1, "pid_started_at": 2.0, "state": "ready"}')
    with pytest.raises(InputError, match=r"endpoint\.json is damaged"):
        RunFolder.begin(experiment(tmp_path), resume=False, replace=True)
    assert run.storage.exists("experiment.yaml")


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("", "its path is empty"),
        (" ", "its path is empty"),
        ("runs", "Runs in this folder: news"),
        ("runs/news/experiment.yaml", "this is a file, a run is a folder"),
        ("x" * 5000, "is not a path: it is too long"),
    ],
)
def test_what_is_no_run_is_described(tmp_path, monkeypatch, named, why):
    monkeypatch.chdir(tmp_path)
    RunFolder.begin(experiment(tmp_path / "runs", name="news"), resume=False, replace=False)
    with pytest.raises(InputError, match=why):
        RunFolder.find(named)


def test_a_run_is_no_suggestion_for_itself(tmp_path):
    run = RunFolder.begin(experiment(tmp_path, name="news"), resume=False, replace=False)
    run.storage.delete_file("experiment.yaml")
    with pytest.raises(InputError, match=r"experiment\.yaml is missing\.\n"):
        RunFolder.find(run.uri)
