"""Numbers, variants and methods as texts; what was not measured is a dash."""

import math

import pytest

from lft_ray.records import TrialConfig
from lft_ray.report.formats import (
    DASH,
    Naming,
    count,
    duration,
    learning_rate,
    method,
    milliseconds,
    notable_method,
    percent,
    score,
    usd,
)
from tests.report.builders import records, with_variants


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (usd(0.04132), "$0.0413"), (usd(0.0000412), "$0.0000412"), (usd(1.5), "$1.50"), (usd(1234.4), "$1,234"),
        (usd(0), "$0"), (usd(None), DASH), (usd(math.nan), DASH), (score(0.91234), "0.9123"), (score(None), DASH),
        (duration(0.42), "0.4 s"), (duration(12.3), "12 s"), (duration(245), "4 min 05 s"),
        (duration(4320), "1 h 12 min"), (duration(59.7), "1 min 00 s"), (duration(None), DASH),
        (milliseconds(6.24), "6.2 ms"), (milliseconds(48.4), "48 ms"), (count(120000), "120,000"),
        (percent(0.625), "62%"), (learning_rate(3e-5), "3.0e-5"), (learning_rate(None), DASH),
    ],
)  # fmt: skip
def test_numbers_are_formatted(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "full"),
        ({"method": "distill", "teacher": "t005"}, "distill from t005"),
        ({"method": "freeze", "frozen_layers": 2}, "freeze 2"),
        ({"method": "lora", "lora_rank": 8, "lora_alpha": 16.0}, "lora rank 8 alpha 16"),
        ({"layer_decay": 0.8}, "full layer decay 0.8"),
    ],
)
def test_the_method_is_described_with_its_hyperparameters(fields, expected):
    config = TrialConfig(model_size="minilm:3", **fields)
    assert method(config) == expected
    assert notable_method(config) == ("" if expected == "full" else expected)


def test_variants_are_named_only_if_a_trial_has_several():
    assert Naming(records())(records()[1].variants[0]) == ""
    several = with_variants()
    assert [Naming(several)(variant) for variant in several[1].variants] == ["fp32, 128 tokens", "fp32, 32 tokens"]
