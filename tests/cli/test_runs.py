"""Break-even and the Optuna study as typed, on a run that a search left behind."""

import json

import optuna
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, StartedTrial
from tests.report.builders import dataset, experiment, profiles, records, selection


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.begin(experiment(), resume=False, replace=False)
    folder.put("dataset.json", dataset())
    folder.put("profiles.json", profiles())
    folder.put("selection.json", selection())
    ledger = Ledger(folder.storage)
    for number, record in enumerate(records()):
        ledger.start(StartedTrial(trial_id=record.trial_id, number=number, config=record.config, role=record.role))
        ledger.put(record.model_copy(update={"curve": []}))
    return "runs/news"


def invoke(*args):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result


def test_the_leaderboard_says_whether_it_pays(run):
    board = json.loads(invoke("leaderboard", run, "--json").stdout)
    assert board["break_even"]["search_usd"] == pytest.approx(0.008)
    assert [s["against"] for s in board["break_even"]["savings"]] == ["largest_finalist", "dearest_size"]
    assert "saves nothing over minilm:6" in " ".join(invoke("leaderboard", run).stdout.split())


def test_before_the_decision_break_even_is_null(run, tmp_path):
    (tmp_path / run / "selection.json").unlink()
    assert json.loads(invoke("leaderboard", run, "--json").stdout)["break_even"] is None


def test_report_writes_the_study_beside_the_page(run, tmp_path):
    result = invoke("report", run, "--study", "sqlite:///x.db")
    assert "optuna-dashboard sqlite:///x.db" in result.stderr
    assert (tmp_path / run / "report.html").is_file()
    assert len(optuna.load_study(study_name="news", storage="sqlite:///x.db").trials) == 8


def test_a_study_url_that_cannot_be_opened_exits_with_2(run):
    result = CliRunner().invoke(app, ["report", run, "--study", "x.db"])
    assert result.exit_code == 2
    assert "sqlite:///file.db" in result.stderr
