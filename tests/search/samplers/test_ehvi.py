import math

import numpy as np
import pytest

from lft_ray.search.samplers.ehvi import (
    Front,
    VariantTable,
    expected_gain,
    expected_improvement,
    expected_score_improvement,
)


@pytest.mark.parametrize("mean", [-1.0, 0.2, 3.0])
def test_expected_improvement_against_monte_carlo(mean):
    draws = np.random.default_rng(0).normal(mean, 0.7, 400_000)
    exact = expected_improvement(np.array(mean), np.array(0.7), np.array(0.5))
    assert exact == pytest.approx(np.maximum(draws - 0.5, 0).mean(), abs=4e-3)
    scores = np.maximum((1 - 10**-draws) - (1 - 10**-0.5), 0).mean()
    assert expected_score_improvement(np.array(mean), np.array(0.7), np.array(0.5)) == pytest.approx(scores, abs=4e-3)


def test_expected_gain_against_monte_carlo():
    """The variants of a candidate share one unknown value; the area is measured on the front itself."""
    rng = np.random.default_rng(1)
    observed = VariantTable.of([[(1.0, 0.0), (0.6, -0.1)], [(10.0, 0.0)], [(4.0, 0.0), (2.0, -0.3)], []])
    values = np.array([0.6, 1.2, 0.9, 5.0])
    span, floor = (math.log10(0.5), math.log10(40.0)), 0.2
    front = Front.of(observed, values, span=span, floor=floor)
    candidates = VariantTable.of([[(3.0, 0.0), (1.5, -0.05)], [(20.0, 0.0)], [(0.5, 0.1), (6.0, 0.02)], [(0.7, 0.0)]])
    mean, sd = np.array([0.95, 1.25, 0.5, 0.1]), np.array([0.2, 0.1, 0.3, 0.05])
    exact = expected_gain(mean, sd, candidates, front)
    for i in range(4):
        both = VariantTable(
            np.concatenate([observed.log_costs, candidates.log_costs[i : i + 1]]),
            np.concatenate([observed.offsets, candidates.offsets[i : i + 1]]),
        )
        grown = [
            Front.of(both, np.append(values, draw), span=span, floor=floor).area(floor)
            for draw in rng.normal(mean[i], sd[i], 4_000)
        ]
        gains = np.array(grown) - front.area(floor)
        assert exact[i] == pytest.approx(gains.mean(), abs=5 * gains.std() / math.sqrt(4_000) + 1e-6)


def test_an_expensive_variant_adds_nothing_to_a_cheap_one_of_equal_value():
    front = Front.of(VariantTable.of([[(2.0, 0.0)]]), np.array([1.0]), span=(0.0, 1.0), floor=0.0)
    one, two = VariantTable.of([[(1.0, 0.0)]]), VariantTable.of([[(1.0, 0.0), (5.0, -0.2)]])
    mean, sd = np.array([1.0]), np.array([0.1])
    assert expected_gain(mean, sd, one, front) == expected_gain(mean, sd, two, front)
    assert expected_gain(mean, sd, VariantTable.of([[(1.0, 0.0), (5.0, 0.2)]]), front) > expected_gain(
        mean, sd, one, front
    )


def test_tables_of_different_width_are_concatenated():
    table = VariantTable.of([[(10.0, 0.0)]]).concatenated(VariantTable.of([[(100.0, 0.2), (1.0, 0.1)], []]))
    assert table.log_costs.tolist() == [[1.0, math.inf], [0.0, 2.0], [math.inf, math.inf]]
    assert table.offsets.tolist()[:2] == [[0.0, 0.0], [0.1, 0.2]]
    assert table.is_servable.tolist() == [True, True, False]
    assert table.rows([1]).log_costs.tolist() == [[0.0, 2.0]]
