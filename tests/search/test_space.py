import random

import pytest

from lft_ray.config import Range, TrainingSpec
from lft_ray.errors import ConfigError
from lft_ray.search.space import build_space, start_table
from tests.search.trivial import SIZES, TinySize

NETWORKS = [size.name for size in SIZES if not size.is_linear]


def test_lists_and_ranges_are_searched_and_single_values_are_not():
    space = build_space(SIZES, TrainingSpec(method=["full"], batch_size=32, epochs=[3, 1, 3]), seed=7)
    assert [d.field for d in space.dimensions] == ["model_size", "learning_rate", "epochs"]
    assert space.constants == {"max_length": 128, "seed": 7, "method": "full", "batch_size": 32}
    assert space.dimensions[0].values == tuple(NETWORKS)
    assert space.dimensions[2].values == (1, 3)
    assert space.count is None


def test_tfidf_is_not_in_the_space():
    space = build_space(SIZES, TrainingSpec())
    assert "tfidf" not in space.dimensions[0].values
    only = build_space([s for s in SIZES if s.is_linear], TrainingSpec())
    assert only.is_empty
    assert only.count == 0


def test_a_space_without_a_range_is_finite():
    space = build_space(SIZES, TrainingSpec(method=["full"], learning_rate=[3e-4, 1e-4], batch_size=16, epochs=[1, 2]))
    assert space.count == 4 * 2 * 2 == len(space.all()) == len(set(space.all()))


def test_a_configuration_survives_encoding():
    space = build_space(SIZES, TrainingSpec(learning_rate=[3e-4, 1e-4]))
    for config in space.all():
        assert space.decode(space.encode(config)) == config


def test_methods_are_categories_and_a_teacher_does_not_change_the_encoding():
    import optuna

    space = build_space(SIZES, TrainingSpec(method=["full", "distill"], learning_rate=[1e-4], batch_size=16, epochs=1))
    assert isinstance(space.distributions()["method"], optuna.distributions.CategoricalDistribution)
    assert space.count == len(set(space.all())) == 4 * 2
    for config in space.all():
        assert space.decode(space.encode(config)) == config
        assert space.encode(config.model_copy(update={"teacher": "t005"})) == space.encode(config)
    assert "method" not in build_space(SIZES, TrainingSpec(method=["full"])).distributions()


def test_the_start_table_trains_in_full():
    table = start_table(SIZES, TrainingSpec(method=["distill", "full"]))
    assert {config.method for config in table} == {"full"}


def test_a_configuration_outside_the_space_has_no_encoding():
    space = build_space(SIZES, TrainingSpec())
    config = space.draw(random.Random(0))
    for change in ({"model_size": "tfidf"}, {"learning_rate": 0.5}, {"batch_size": 17}, {"max_length": 64}):
        assert space.encode(config.model_copy(update=change)) is None


def test_draws_stay_inside_and_differ():
    space = build_space(SIZES, TrainingSpec(learning_rate=Range(low=1e-5, high=1e-3)))
    draws = [space.draw(random.Random(i)) for i in range(200)]
    assert all(space.encode(c) is not None for c in draws)
    assert len({c.learning_rate for c in draws}) > 100
    # Logarithmic: about half below the geometric middle.
    assert 70 < sum(c.learning_rate < 1e-4 for c in draws) < 130


def test_the_start_table_is_cheapest_first_with_defaults():
    table = start_table(SIZES, TrainingSpec(), seed=3)
    assert [c.model_size for c in table] == ["tfidf", *NETWORKS]
    assert table[0].learning_rate is None
    assert table[0].epochs is None
    assert {(c.learning_rate, c.batch_size, c.epochs, c.seed) for c in table[1:]} == {(2e-4, 32, 2, 3)}


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (Range(low=1e-3, high=1e-2), 1e-3),
        (Range(low=1e-6, high=1e-5), 1e-5),
        ([1e-5, 1e-4, 1e-3], 1e-4),
        (5e-4, 5e-4),
    ],
)
def test_the_default_rate_is_kept_inside_what_is_allowed(allowed, expected):
    table = start_table([TinySize("tiny:1")], TrainingSpec(learning_rate=allowed))
    assert table[0].learning_rate == pytest.approx(expected)


def test_a_size_without_a_default_rate_starts_in_the_middle():
    size = TinySize("tiny:1", default_learning_rate=None)
    assert start_table([size], TrainingSpec(learning_rate=Range(low=1e-5, high=1e-3)))[0].learning_rate == 1e-4
    assert start_table([size], TrainingSpec(learning_rate=[1e-5, 1e-4, 1e-3]))[0].learning_rate == 1e-4


def test_no_sizes_is_an_error_with_a_fix():
    with pytest.raises(ConfigError, match="max_usd_per_million"):
        start_table([], TrainingSpec())


def test_every_start_configuration_lies_in_the_space():
    for training in (TrainingSpec(), TrainingSpec(learning_rate=[1e-4], batch_size=[8, 16], epochs=4)):
        space = build_space(SIZES, training)
        assert all(space.encode(c) is not None for c in start_table(SIZES, training)[1:])


def test_class_weights_are_searched_only_where_several_are_listed():
    space = build_space(SIZES, TrainingSpec(class_weights=["none", "balanced"]))
    [dimension] = [dimension for dimension in space.dimensions if dimension.field == "class_weights"]
    assert (dimension.values, dimension.is_ordered, dimension.middle) == (("none", "balanced"), False, "none")
    assert {space.draw(random.Random(seed)).class_weights for seed in range(20)} == {"none", "balanced"}
    config = space.config({"class_weights": "balanced"})
    assert space.decode(space.encode(config)) == config
    for fixed in ("balanced", ["balanced"], ["balanced", "balanced"]):
        assert build_space(SIZES, TrainingSpec(class_weights=fixed)).config({}).class_weights is None
