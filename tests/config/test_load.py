import re
from pathlib import Path

import pytest

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError
from tests.conftest import REPO

MINIMAL = {"name": "news", "data": {"train": "x.csv"}, "models": [{"base": "minilm"}]}
EXPERIMENTS = REPO / "experiments"

DESIGN_FILE = """
name: news
task: {kind: classification, text: text, label: label, metric: macro_f1}
data: {train: news.csv, validation: null, test: null, max_rows: null, split: {validation: 0.1, test: 0.1, seed: 0}}
models:
  - {base: minilm, layers: [1, 2, 3, 4, 6]}
  - {base: tfidf}
training:
  method: [full]
  learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
  batch_size: [16, 32, 64]
  epochs: [1, 2, 3]
  max_length: 128
  workers: 1
  resources: {cpu: 1, gpu: auto}
search: {trials: 24, minutes: 25, budget_usd: null, concurrency: auto, sampler: gp, scheduler: fifo, seed: 0}
cost: {price: this_machine, traffic: {requests_per_month: 10_000_000, p95_ms: 100}}
selection: {policy: cheapest_within, margin: 0.005, confirmation_fraction: 0.3}
export: {precisions: [fp32]}
serve: {host: 127.0.0.1, port: 8000, autoscaling: {min_replicas: 1, max_replicas: 4, target_ongoing_requests: 32}}
cluster: {address: null}
storage: runs
"""


def write(folder: Path, text: str, name: str = "e.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_file_loads_and_round_trips(tmp_path):
    experiment = Experiment.load(write(tmp_path, DESIGN_FILE), [])
    assert experiment.cost.traffic.requests_per_month == 10_000_000
    assert Experiment.load(write(tmp_path, experiment.to_yaml(), "again.yaml"), []) == experiment


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_experiments_load(path):
    assert Experiment.load(path, []).models


def test_extends_merges_trees(tmp_path):
    write(tmp_path, DESIGN_FILE, "base.yaml")
    child = Experiment.load(write(tmp_path, "extends: base.yaml\nname: other\ntraining: {max_length: 64}\n"), [])
    assert (child.name, child.training.max_length, child.training.epochs) == ("other", 64, [1, 2, 3])


def test_extends_in_a_circle_is_named(tmp_path):
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        Experiment.load(tmp_path / "a.yaml", [])


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001"])
def test_scientific_notation_is_a_number(tmp_path, text):
    experiment = Experiment.load(write(tmp_path, DESIGN_FILE), [f"training.learning_rate={text}"])
    assert experiment.training.learning_rate == 1e-5


def test_overrides_reach_any_depth(tmp_path):
    path = write(tmp_path, DESIGN_FILE)
    experiment = Experiment.load(
        path, ["search.trials=8", "cost.traffic.p95_ms=null", "models=[{base: tfidf}]", "data.split.seed=3"]
    )
    assert (experiment.search.trials, experiment.cost.traffic.p95_ms, experiment.data.split.seed) == (8, None, 3)
    assert [m.base for m in experiment.models] == ["tfidf"]


def test_all_mistakes_are_reported_at_once_with_the_nearest_name():
    tree = {**MINIMAL, "name": "No Spaces", "serch": {}, "search": {"trials": 0, "mintues": 3}, "storage": 5}
    with pytest.raises(ConfigError) as caught:
        Experiment.parse(tree)
    text = str(caught.value)
    assert "5 mistakes" in text
    for part in ("name: 'No Spaces'", "Did you mean 'search'?", "search.trials", "Did you mean 'minutes'?", "storage"):
        assert part in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nname: b\n", "duplicate key"),
        ("name: &x a\ndata: *x\n", "aliases"),
        ("a:\n\tb: 1\n", "not valid YAML"),
        ("- 1\n", "must be a mapping"),
        ("x" * 1_000_001, "at most"),
        ("name: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_hostile_or_broken_yaml_is_refused(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        Experiment.load(write(tmp_path, text), [])


def test_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, DESIGN_FILE, "news.yaml")
    with pytest.raises(ConfigError, match=r"Did you mean 'news\.yaml'"):
        Experiment.load(tmp_path / "new.yaml", [])


@pytest.mark.parametrize("item", ["search.trials", "=3", "name.deep=3"])
def test_overrides_of_the_wrong_form_are_refused(tmp_path, item):
    with pytest.raises(ConfigError, match="--set"):
        Experiment.load(write(tmp_path, DESIGN_FILE), [item])


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ({"training": {"plateau": {"patience": 2}}}, "unknown key training.plateau: renamed to early_stopping"),
        (
            {"selection": {"confirm_share": 0.2}},
            "unknown key selection.confirm_share: renamed to confirmation_fraction",
        ),
        ({"training": {"method": ["frozen"]}}, "frozen was renamed to freeze"),
        ({"training": {"head_init": "probe"}}, "probe was renamed to linear_probe"),
        (
            {"training": {"layer_decay": {"values": [0.9], "when": {"method": ["distil"]}}}},
            "distil was renamed to distill",
        ),
    ],
)
def test_the_error_for_an_earlier_name_says_todays(part, error):
    given = {"name": "x", "data": {"train": "x.csv"}, "models": [{"base": "tfidf"}]}
    with pytest.raises(ConfigError, match=re.escape(error)):
        Experiment.parse(given | part)
