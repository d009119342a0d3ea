import json
import re
from pathlib import Path

import pytest

from lft_ray.config import Experiment
from lft_ray.config.base import SCHEDULERS
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


def test_an_unknown_scheduler_is_refused_when_the_file_is_read():
    with pytest.raises(ConfigError) as caught:
        Experiment.parse({**MINIMAL, "search": {"scheduler": "mo-asha"}})
    assert "search.scheduler: expected one of fifo, dominance, mo_asha, or package.module:Name." in str(caught.value)
    assert "Did you mean 'mo_asha'? (got 'mo-asha')" in str(caught.value)
    for kind in (*SCHEDULERS, "my.rules:stop_poor_ones"):
        assert Experiment.parse({**MINIMAL, "search": {"scheduler": kind}}).search.scheduler == kind


def test_a_wrong_range_is_one_mistake():
    with pytest.raises(ConfigError) as caught:
        Experiment.parse({**MINIMAL, "training": {"learning_rate": {"low": 0.1, "high": 0.01}}})
    assert "1 mistake" in str(caught.value)
    assert "low 0.1 must be below high 0.01" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.learning_rate", 0),
        ("training.learning_rate", 2),
        ("training.learning_rate", float("nan")),
        ("training.learning_rate", {"low": 0, "high": 1}),
        ("training.epochs", []),
        ("training.batch_size", [0]),
        ("search.budget_usd", -1),
        ("search.budget_usd", float("nan")),
        ("selection.margin", 1),
        ("serve.autoscaling", {"min_replicas": 5, "max_replicas": 2}),
        ("serve.port", 70000),
        ("data.split", {"validation": 0}),
        ("models", []),
        ("name", "../up"),
        ("export.precisions", ["int3"]),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    tree = json.loads(json.dumps(MINIMAL))
    node = tree
    *parents, leaf = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[leaf] = value
    with pytest.raises(ConfigError, match=parents[0] if parents else leaf):
        Experiment.parse(tree)


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


def test_schema_carries_the_text_of_every_field():
    schema = Experiment.model_json_schema()
    assert "half a point" in json.dumps(schema)
    for name, definition in schema["$defs"].items():
        assert definition.get("description"), name


def tree(**export):
    return MINIMAL | {"training": {"max_length": 64}, "export": export}


def test_lengths_are_offered_longest_first_and_the_trained_one_always():
    assert Experiment.parse(MINIMAL).max_lengths == [128]
    assert Experiment.parse(tree()).max_lengths == [64]
    assert Experiment.parse(tree(max_lengths=[16, 32, 16, 64])).max_lengths == [64, 32, 16]
    assert Experiment.parse(tree(max_lengths=[8])).max_lengths == [64, 8]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([128], r"  - export\.max_lengths: 128 is above training\.max_length 64\n"),
        ([32, 7], r"export\.max_lengths\[1\]: .*greater than or equal to 8 \(got 7\)"),
        (32, r"export\.max_lengths: .*list"),
    ],
)
def test_a_length_that_cannot_be_offered_is_named(lengths, message):
    with pytest.raises(ConfigError, match=message):
        Experiment.parse(tree(max_lengths=lengths))


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ({"training": {"plateau": {"patience": 2}}}, "unknown key training.plateau: renamed to early_stopping"),
        ({"selection": {"confirm_share": 0.2}}, "selection.confirm_share: renamed to confirmation_fraction"),
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
