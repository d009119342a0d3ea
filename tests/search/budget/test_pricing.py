import pytest

from lft_ray.config import CostSpec
from lft_ray.cost.caps import Caps
from lft_ray.cost.prices import price_of
from lft_ray.errors import InputError
from lft_ray.records import PricedVariant, ScoredVariant, TrialConfig, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.budget.pricing import Pricing
from tests.report.builders import profiles

PRICE = price_of(CostSpec())


def variant(precision: str, usd: float, p95_ms: float | None = None) -> PricedVariant:
    return PricedVariant(precision=precision, max_length=128, usd_per_million_predictions=usd, p95_ms=p95_ms)


def pricing(*variants: PricedVariant) -> Pricing:
    return Pricing(PRICE, 0.6, profiles(), {"m:1": variants} if variants else {})


def test_the_cost_of_a_size_is_its_cheapest_variant_and_the_reference_is_its_first():
    found = pricing(variant("fp32", 2.0), variant("int8", 0.5), variant("bf16", 1.0))
    assert (found.cost("m:1"), found.reference_cost("m:1")) == (0.5, 2.0)


def test_admitted_variants_meet_both_caps_at_once():
    cheap, fast = variant("int8", 0.5, 50.0), variant("fp32", 2.0, 5.0)
    found = pricing(fast, cheap)
    assert found.admitted("m:1", Caps(1.0, None)) == [cheap]
    assert found.admitted("m:1", Caps(None, 10.0)) == [fast]
    assert not found.is_allowed("m:1", Caps(1.0, 10.0))


def test_a_size_without_a_profile_is_an_error_that_names_the_file_to_delete():
    with pytest.raises(InputError, match=r"no serving profile of m:1 in profiles.json"):
        pricing().offered("m:1")


def test_a_record_has_the_dollars_of_its_usage_and_the_role_of_its_trial():
    config = TrialConfig(model_size="m:1")
    result = TrialResult(
        trial_id="c000",
        attempt=1,
        config=config,
        status=TrialStatus.DONE,
        usage=Usage(core_s=3600.0, wall_s=1800.0),
        variants=[ScoredVariant(precision="fp32", max_length=128, f1=0.9)],
    )
    trial = StartedTrial(trial_id="c000", number=0, config=config, role="confirm", confirms="t001")
    record = pricing(variant("fp32", 1.0)).record(result, trial)
    assert record.training_usd == pytest.approx(3600.0 * PRICE.training_usd_per_core_s)
    assert (record.role, record.confirms, record.start, record.variants[0].f1) == ("confirm", "t001", False, 0.9)
