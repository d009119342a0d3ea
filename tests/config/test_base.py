"""Building blocks of the experiment schema."""

import pytest

from lft_ray.config import Experiment, Range, SearchSpec
from lft_ray.config.base import SCHEDULERS, check_names
from lft_ray.errors import ConfigError
from tests.config.test_load import MINIMAL


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


def test_a_copy_with_an_unknown_field_is_refused_with_the_nearest_name():
    assert SearchSpec().replace(trials=3).trials == 3
    with pytest.raises(TypeError, match=r"SearchSpec has no field 'trails'\. Did you mean 'trials'\?"):
        SearchSpec().replace(trails=3)
    check_names(Range, ["low", "high"])


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("search", {"minutes": float("inf")}),
        ("search", {"budget_usd": "inf"}),
        ("cost", {"usd_per_core_hour": float("inf")}),
        ("cost", {"utilisation": float("nan")}),
        ("cost", {"traffic": {"p95_ms": float("inf")}}),
    ],
)
def test_no_number_is_infinite(section, values):
    with pytest.raises(ConfigError, match=rf"{section}\..*(finite number|less than or equal)"):
        Experiment.parse({**MINIMAL, section: values})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("search", "trials", True),
        ("search", "concurrency", True),
        ("training", "epochs", [True, 2]),
        ("serve", "port", True),
        ("selection", "margin", False),
    ],
)
def test_a_boolean_is_no_number(section, key, value):
    with pytest.raises(ConfigError, match=rf"{section}\.{key}: expected a number, not a boolean: YAML reads true, yes"):
        Experiment.parse({**MINIMAL, section: {key: value}})


def test_booleans_are_taken_where_they_are_meant_and_text_is_told_to_be_quoted():
    assert Experiment.parse({**MINIMAL, "search": {"deterministic": True}}).search.deterministic is True
    with pytest.raises(ConfigError, match=r"task\.text: Input should be a valid string \(got True\): .* in quotes"):
        Experiment.parse({**MINIMAL, "task": {"text": True}})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_is_one_that_every_generator_takes(seed):
    for sections in ({"search": {"seed": seed}}, {"data": {**MINIMAL["data"], "split": {"seed": seed}}}):
        with pytest.raises(ConfigError, match=r"seed: Input should be (greater|less) than"):
            Experiment.parse({**MINIMAL, **sections})


def test_a_run_name_does_not_end_in_a_line_break():
    with pytest.raises(ConfigError, match=r"name: 't\\n' must match"):
        Experiment.parse({**MINIMAL, "name": "t\n"})
