import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lft_ray.search.samplers.axes import Axes


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(2, 9), [2, 5, 9]),
        (IntDistribution(2, 10, step=4), [2, 6, 10]),
        (IntDistribution(1, 1000, log=True), [1, 30, 1000]),
        (FloatDistribution(1e-5, 1e-1, log=True), [1e-5, 1e-3, 1e-1]),
        (FloatDistribution(-1.0, 1.0), [-1.0, 0.2, 1.0]),
        (FloatDistribution(0.0, 1.0, step=0.25), [0.0, 0.25, 1.0]),
        (CategoricalDistribution(["a", None, 3]), ["a", None, 3]),
    ],
)
def test_parameters_go_to_numbers_and_back(distribution, values):
    axes = Axes.of({"p": distribution})
    internal = np.array([axes.numbers({"p": value}) for value in values])
    back = [axes.params(row)["p"] for row in axes.internal(axes.cube(internal)).tolist()]
    assert back == pytest.approx(values) if isinstance(values[0], float) else back == values
    everywhere = axes.internal(axes.spread_out(500, np.random.default_rng(0)))
    assert all(distribution._contains(value) for value in everywhere[:, 0])


def test_features_of_positions_unordered_values_and_families():
    space = {"method": IntDistribution(0, 1), "size": IntDistribution(0, 2)}
    axes = Axes.of(space, {"method": None, "size": [0.0, 1.0, 4.0]}, {"size": ["x", "y", "y"]})
    assert axes.groups.tolist() == [0, 0, 1, 2, 2]
    features = axes.features(np.array([[0.0, 1.0], [1.0, 2.0], [math.nan, math.nan]]), np.full((3, 2), np.nan))
    half = math.sqrt(0.5)
    assert features == pytest.approx(np.array([[half, 0, 0.25, 0, half], [0, half, 1.0, 0, half], [0, 0, 0.5, 0, 0]]))


def test_a_small_discrete_space_is_a_full_grid_and_a_large_one_is_covered_evenly():
    axes = Axes.of({"a": IntDistribution(0, 2), "b": CategoricalDistribution(["x", "y"])})
    grid = axes.internal(axes.spread_out(6, np.random.default_rng(0)))
    assert sorted(map(tuple, grid.tolist())) == [(float(a), float(b)) for a in range(3) for b in range(2)]
    continuous = Axes.of({"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.0, 1.0)})
    cube = continuous.spread_out(64, np.random.default_rng(0))
    counts, *_ = np.histogram2d(*cube.T, bins=4, range=[[0, 1], [0, 1]])
    assert counts.min() >= 2
    assert counts.max() <= 6


def test_a_centre_is_mapped_to_one_half():
    axes = Axes.of({"rate": FloatDistribution(1e-5, 1e-1, log=True)})
    centre = axes.axes[0].unit_of_position(-4.0)
    assert centre == pytest.approx(0.25)
    features = axes.features(np.array([[1e-4], [1e-3], [math.nan]]), np.full((3, 1), centre))
    assert features.ravel() == pytest.approx([0.5, 0.75, 0.5])
