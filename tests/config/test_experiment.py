"""The experiment schema: ranges of values, descriptions, derived values."""

import json

import pytest

from lft_ray.config import Experiment, SearchSpec
from lft_ray.errors import ConfigError
from tests.config.test_load import MINIMAL


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


def test_the_schema_describes_every_section_and_key():
    schema = Experiment.model_json_schema()
    assert "half a point" in json.dumps(schema)
    for name, definition in schema["$defs"].items():
        assert definition.get("description"), name
        for key, field in definition.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{name}.{key}"


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
    ("fields", "expected"),
    [({}, True), ({"minutes": 5}, False), ({"budget_usd": 1}, False), ({"minutes": 5, "deterministic": True}, True)],
)
def test_a_search_is_deterministic_unless_a_clock_or_budget_decides(fields, expected):
    assert SearchSpec(**fields).is_deterministic is expected


def test_int8_needs_its_reference_first():
    assert Experiment.parse(MINIMAL | {"export": {"precisions": ["fp32", "int8"]}}).export.precisions[1] == "int8"
    with pytest.raises(ConfigError, match="int8 needs fp32 before it"):
        Experiment.parse(MINIMAL | {"export": {"precisions": ["int8", "fp32"]}})


def test_the_run_folder_is_below_storage():
    assert Experiment.parse(MINIMAL | {"storage": "s3://bucket/runs/"}).run_uri == "s3://bucket/runs/news"
