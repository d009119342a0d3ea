"""``lft plan`` as typed: no run folder, no weights, no heavy library; bad input exits with 2."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from tests.cli.test_bad_input import assert_refused, lft, rows, write_csv

EXPERIMENT = """
name: tickets
data: {train: d.csv}
models: [{base: tfidf}, {base: bert-l2-h128, layers: [1, 2]}]
search: {trials: 4}
storage: runs
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_csv(tmp_path / "d.csv", rows())
    (tmp_path / "e.yaml").write_text(EXPERIMENT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_has_the_candidates_and_the_totals_and_nothing_is_written(folder):
    result = CliRunner().invoke(app, ["plan", "e.yaml", "--json", "--set", "search.budget_usd=0.003"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [c["model_size"] for c in found["candidates"]] == ["tfidf", "bert-l2-h128:1", "bert-l2-h128:2"]
    assert {c["serving_source"] for c in found["candidates"]} == {"predicted"}
    assert found["budget_usd"] == found["held_to_usd"] == 0.003
    assert found["worst_usd"] > 0.003
    assert sorted(path.name for path in folder.iterdir()) == ["d.csv", "e.yaml"]


def test_the_table_says_what_is_predicted(folder):
    result = CliRunner().invoke(app, ["plan", "e.yaml"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("predicted") >= 4
    for part in ("bert-l2-h128:2", "P/sqrt(N)", "worst case:", "limit:", "GFLOP/s"):
        assert part in result.stdout
    assert "next: lft search e.yaml" in result.stderr


def test_it_needs_no_weights_no_hub_and_no_heavy_library(folder):
    code = (
        "import sys\nfrom lft_ray.config import Experiment\nfrom lft_ray.pipeline import plan\n"
        "plan(Experiment.load('e.yaml'))\nprint(*sys.modules)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": ":".join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True, env=environment
    )
    assert not {"torch", "ray", "transformers", "sklearn", "optuna", "datasets"} & set(result.stdout.split())


def test_bad_data_and_unknown_models_exit_with_2(folder):
    write_csv(folder / "d.csv", rows(labels=("sport",)))
    assert_refused(lft("plan", "e.yaml", cwd=folder), "sport", "fix:")
    assert_refused(lft("plan", "e.yaml", "--set", "models=[{base: minilmm}]", cwd=folder), "minilmm", "minilm")
    assert_refused(lft("plan", "none.yaml", cwd=folder), "experiment file not found")
