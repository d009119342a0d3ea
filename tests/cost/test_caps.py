"""One rule for the caps, wherever it is asked: what was not measured is not within them."""

import math

import pytest

from lft_ray.config import CostSpec, SelectionSpec, TrafficSpec
from lft_ray.cost.caps import Caps
from lft_ray.cost.prices import price_of
from lft_ray.records import PricedVariant
from lft_ray.search.budget.pricing import Pricing
from lft_ray.selection.finalists import eligible_points
from tests.report.builders import profiles
from tests.selection.builders import trial


def test_without_caps_all_is_within():
    assert Caps.of(SelectionSpec(), CostSpec()) == Caps()
    assert Caps().breach(1e9, None) == ""


def test_a_cap_holds_up_to_its_own_value_and_names_its_key():
    caps = Caps.of(SelectionSpec(max_usd_per_million=0.5), CostSpec(traffic=TrafficSpec(p95_ms=20)))
    assert caps.breach(0.5, 20.0) == ""
    assert caps.breach(0.51, 20.0) == "$0.51 per million predictions is above selection.max_usd_per_million 0.5"
    assert caps.breach(0.5, 20.6) == "p95 21 ms is above cost.traffic.p95_ms 20"


@pytest.mark.parametrize("unmeasured", [None, math.nan])
def test_what_was_not_measured_is_refused_before_training_and_at_the_choice(unmeasured):
    caps = Caps(p95_ms=20.0)
    assert caps.breach(0.1, unmeasured) == "its p95 latency was not measured, and cost.traffic.p95_ms is 20"
    # Before training.
    fast = PricedVariant(precision="fp32", max_length=128, usd_per_million_predictions=0.1, p95_ms=5.0)
    variants = {"m:1": (fast, fast.replace(precision="bf16", p95_ms=unmeasured))}
    pricing = Pricing(price_of(CostSpec()), 0.6, profiles(), variants)
    assert pricing.admitted("m:1", caps) == [fast]
    assert len(pricing.admitted("m:1", Caps())) == 2
    # At the choice.
    records = [trial("t1", "m:1", 0.9, 0.1, p95_ms=unmeasured), trial("t2", "m:1", 0.8, 0.1, p95_ms=5.0)]
    found = eligible_points(records, SelectionSpec(), CostSpec(traffic=TrafficSpec(p95_ms=20)))
    assert [point.trial_id for point in found.eligible] == ["t2"]
    assert "not measured" in found.excluded["t1"]


def test_dollars_that_are_not_a_number_are_over_every_cap():
    assert "max_usd_per_million" in Caps(usd_per_million=1.0).breach(math.nan, 1.0)
