"""Runs and bundles that released versions wrote are read, reported, exported and resumed by this one.

They lie elsewhere than where they were made, as a run does that was copied from another machine.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.errors import ConfigError
from lft_ray.pipeline import bundle_of, prepare
from lft_ray.run.folder import RunFolder
from lft_ray.run.intact import check_intact
from lft_ray.run.ledger import Ledger

SAVED = Path(__file__).parent.parent / "data"
VERSIONS = ("0.1.0", "0.2.0")


@pytest.fixture(params=VERSIONS)
def run(request, tmp_path, monkeypatch) -> RunFolder:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAVED / f"run_{request.param}", tmp_path / "runs" / "colours")
    shutil.copy(SAVED / "colours.csv", tmp_path)
    return RunFolder.find("runs/colours")


def invoke(*args):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result


def test_it_is_shown(run):
    assert "tfidf (t000)" in invoke("status", "runs/colours").stdout
    board = json.loads(invoke("leaderboard", "runs/colours", "--json").stdout)
    assert board["winner"]["f1"] == pytest.approx(0.9136, abs=1e-4)
    invoke("report", "runs/colours")
    assert run.storage.exists("report.html")


def test_its_own_weights_are_exported(run, tmp_path):
    """Its records name the folder where it was made, which is not there."""
    assert json.loads((tmp_path / "runs/colours/bundle.json").read_text())["uri"].startswith("/home/user/")
    invoke("export", "runs/colours")
    bundle = json.loads((tmp_path / "runs/colours/bundle.json").read_text())
    assert (bundle["uri"], bundle["trial_id"]) == ("bundle", "t000")
    assert bundle_of(run).uri == str(tmp_path / "runs" / "colours" / "bundle")


def test_its_bundle_predicts(run, tmp_path):
    (tmp_path / "in.csv").write_text("text\nbrick seen today\nocean seen soon\n")
    invoke("predict", str(tmp_path / "runs/colours/bundle"), "--input", "in.csv", "--output", "out.parquet")
    import pyarrow.parquet as pq

    assert pq.read_table("out.parquet")["label"].to_pylist() == ["red", "blue"]


def test_it_is_resumed_with_its_own_data_and_trials(run):
    """No checksums are recorded there, so there is nothing to compare, and nothing to warn of."""
    experiment = Experiment.load(SAVED / "colours.yaml")
    with RunFolder.driven(experiment, resume=True, replace=False) as resumed:
        prepared = prepare(resumed, experiment, print)
        check_intact(resumed, prepared.ledger, prepared.dataset)
        assert prepared.dataset.splits["train"].uri == f"{run.uri}/data/train.arrow"
        assert [record.trial_id for record in prepared.ledger.records()] == ["t000"]
        assert prepared.ledger.get("t000").checkpoint_uri == f"{run.uri}/trials/t000/checkpoint"
        assert experiment.training.method == ["full", "linear_probe"], "a default of today"
        assert resumed.experiment().training.method == ["full"], "the one that it was begun with"


def test_what_the_file_says_is_not_taken_from_the_run(run):
    experiment = Experiment.load(SAVED / "colours.yaml", ["training.method=[full, linear_probe]"])
    refused = pytest.raises(ConfigError, match=r"training\.method: was \['full'\], now \['full', 'linear_probe'\]")
    with refused, RunFolder.driven(experiment, resume=True, replace=False):
        pass


def test_a_trial_of_it_is_exported_beside_the_winner(run, tmp_path):
    before = sorted(path.name for path in (tmp_path / "runs/colours/bundle").iterdir())
    record = Ledger(run.storage).ended("t000")
    run.put("trials/t001/record.json", record.replace(trial_id="t001"))
    invoke("export", "runs/colours", "--trial", "t001")
    assert json.loads((tmp_path / "runs/colours/exports/t001.json").read_text())["uri"] == "exports/t001"
    assert sorted(path.name for path in (tmp_path / "runs/colours/bundle").iterdir()) == before
    assert bundle_of(run).trial_id == "t000"
