"""Which points a cascade is made of; measurement and export are tested in `tests/test_pipeline_cascade.py`."""

import pytest

from lft_ray.errors import InputError
from lft_ray.export.make_cascade import measure_cascade, point_named
from lft_ray.selection.front import points_of
from tests.selection.builders import study, trial


def test_point_named_takes_a_trial_id_or_the_best_of_a_model_size():
    assert point_named("t6", study()).trial_id == "t6"
    assert point_named("minilm:3", study()).trial_id == "t2"


def test_point_named_prefers_the_cheaper_of_equal_f1():
    records = [trial("t1", "minilm:3", 0.9, 0.05), trial("t2", "minilm:3", 0.9, 0.04)]
    assert point_named("minilm:3", records).trial_id == "t2"


@pytest.mark.parametrize("name", ["minilm:4", "t5"])
def test_point_named_refuses_unknown_and_unfinished_trials(name):
    with pytest.raises(InputError, match=f"no finished trial or model size is named '{name}'.*Did you mean"):
        point_named(name, study())


def test_measure_cascade_refuses_a_first_model_that_is_not_cheaper():
    small, large = points_of([trial("t1", "minilm:6", 0.92, 0.08), trial("t2", "minilm:3", 0.9, 0.04)])
    with pytest.raises(InputError, match=r"minilm:6 costs \$0.08 per million predictions, minilm:3 \$0.04") as error:
        measure_cascade(small, large, job=None)
    assert error.value.fix == "--cascade t2,t1"
