import math
import random

import pytest

from lft_ray.records import TrialConfig, TrialRecord
from lft_ray.search.samplers.priors import expected_f1, variant_offsets
from tests.search.samplers.test_proposer import SPACE, curved, observed, variant


def test_the_expected_f1_of_a_stopped_trial_follows_the_finished_curves():
    finished = [curved(0, [0.6, 0.7, 0.8]), curved(1, [0.5, 0.6, 0.7]), curved(2, [0.4, 0.6, 0.88])]
    # Ratios of final to present error at a third: 0.5, 0.6, 0.2; at two thirds: 0.67, 0.75, 0.3.
    assert expected_f1(curved(9, [0.6], "stopped"), finished) == pytest.approx(1 - 0.4 * 0.5)
    assert expected_f1(curved(9, [0.6, 0.7], "stopped"), finished) == pytest.approx(1 - 0.3 * 2 / 3)
    assert expected_f1(curved(9, [0.6], "stopped"), []) == 0.6
    assert expected_f1(observed(SPACE.draw(random.Random(9)), 9, "stopped"), finished) is None


def test_offsets_of_variants_are_learned_by_size():
    def record(number: int, size: str, f1: float) -> TrialRecord:
        config = TrialConfig(model_size=size, learning_rate=1e-4, batch_size=16, epochs=1)
        variants = [variant("fp32", 128, 0.9, 2.0), variant("bf16", 128, f1, 1.0)]
        return observed(config, number).model_copy(update={"variants": variants})

    assert variant_offsets([]) == {}
    one = variant_offsets([record(0, "tiny:1", 0.8)])
    # Twice the error is -0.30; one trial more is believed to have shown none.
    assert one["tiny:1", "bf16", 128] == pytest.approx(-math.log10(2) / 2)
    assert one["tiny:1", "fp32", 128] == 0.0
    many = variant_offsets([record(i, "tiny:1", 0.8) for i in range(9)] + [record(9, "tiny:2", 0.9)])
    assert many["tiny:1", "bf16", 128] == pytest.approx(-0.9 * math.log10(2))
    assert many["tiny:2", "bf16", 128] == 0.0
