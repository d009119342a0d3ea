"""Status of a run: counts, cost, and the command that continues it."""

import json
import shlex
import shutil

import pytest

from lft_ray.config import Experiment
from lft_ray.report.status import status_of, words_to_try
from lft_ray.run.bundle_site import run_or_bundle
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.serve.endpoint.look import EndpointView
from tests.report.builders import experiment, record, selection
from tests.serve.conftest import export_overlap, export_tfidf_pairs


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_running_search_is_continued_by_search(run):
    ledger = Ledger(run.storage)
    ledger.put(record("t001", "minilm:3"))
    ledger.put(record("t002", "minilm:6", status="stopped"))
    ledger.start(StartedTrial(trial_id="t003", number=3, config=record("t003", "minilm:6").config))
    found = status_of(run, ledger)
    assert (found["trials"], found["unfinished"]) == ({"done": 1, "stopped": 1}, 1)
    assert (found["best_f1"], found["training_usd"]) == (0.912, 0.002)
    assert found["winner"] is found["endpoint"] is None
    assert found["next"] == f"lft search {run.uri}/experiment.yaml --resume"


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (None, "deploy"),
        ("stopped", "deploy"),
        ("dead", "deploy"),
        ("starting", "status"),
        ("not_ready", "status"),
        ("unreachable", "status"),
        ("elsewhere", "status"),
        ("ready", "predict"),
    ],
)
def test_a_decided_run_is_deployed_or_asked_for_predictions(run, monkeypatch, state, command):
    run.put("selection.json", selection())
    for name in ("t2", selection().winner_seed_trial_id):
        run.put(f"trials/{name}/record.json", record(name, "minilm:3"))
    view = EndpointView(state=state, url="http://h:1", version="v1") if state else None
    monkeypatch.setattr("lft_ray.report.status.look", lambda _: view)
    found = status_of(run, Ledger(run.storage))
    assert found["winner"] == "minilm:3 (t2)"
    assert found["next"].startswith(f"lft {command} {run.uri}")
    assert (found["endpoint"], found["version"]) == (("http://h:1", "v1") if command == "predict" else (None, None))
    assert (found["serving"] or {}).get("state") == state


def test_the_next_command_can_be_typed_for_any_path(tmp_path):
    run = RunFolder(tmp_path / "my run")
    Ledger(run.storage).put(record("t001", "minilm:3"))
    assert status_of(run, Ledger(run.storage))["next"] == f"lft search '{run.uri}/experiment.yaml' --resume"


def test_a_run_that_was_copied_is_continued_and_not_its_original(tmp_path):
    original = RunFolder.begin(experiment().replace(storage=str(tmp_path)), resume=False, replace=False)
    copy = RunFolder(shutil.copytree(original.uri, tmp_path / "copies" / "second"))
    Ledger(copy.storage).put(record("t001", "minilm:3"))
    assert (
        status_of(original, Ledger(original.storage))["next"] == f"lft search {original.uri}/experiment.yaml --resume"
    )
    words = shlex.split(status_of(copy, Ledger(copy.storage))["next"])
    assert words[-1] == "--resume"
    resumed = Experiment.load(words[2], words[4:-1:2])
    assert RunFolder.begin(resumed, resume=True, replace=False).uri == copy.uri
    assert [found.trial_id for found in Ledger(RunFolder(resumed.run_uri).storage).records()] == ["t001"]


def test_the_words_to_try_a_bundle_with_are_those_that_it_reads(tmp_path):
    questions = export_overlap(tmp_path).uri
    assert (
        words_to_try(run_or_bundle(questions)) == "--question 'your question' --context 'the text that has its answer'"
    )
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    assert words_to_try(run_or_bundle(export_tfidf_pairs(pairs).uri)) == "'first text' 'second text'"
    predictor = tmp_path / "pairs" / "bundle" / "predictor.json"
    told = json.loads(predictor.read_text())
    predictor.write_text(json.dumps(told | {"task_kind": "not_installed:Task"}))
    assert words_to_try(run_or_bundle(str(predictor.parent))) == "'first text' 'second text'"
