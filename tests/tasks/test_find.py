"""Tasks found by name, and plug-ins that the data stage cannot use."""

import pytest

from lft_ray.errors import ConfigError
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.find import find_task


class Earlier(Classification):
    label_names = ("stars",)


class Half:
    columns = Classification.columns


def no_class() -> None:
    pass


def test_a_built_in_task_and_a_path():
    assert find_task("classification") is Classification
    assert find_task("lft_ray.tasks.classification:Classification") is Classification


@pytest.mark.parametrize(
    ("name", "words"),
    [("Earlier", "sets label_names, which"), ("Half", "it lacks allows_empty, learn"), ("no_class", "lacks columns,")],
)
def test_a_plug_in_without_what_the_data_stage_asks_is_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        find_task(f"{__name__}:{name}")
