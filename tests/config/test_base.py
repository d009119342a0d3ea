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
