import pytest

from lft_ray.config import CostSpec
from lft_ray.cost.dollars import monthly_usd, price_variants, training_usd, usd_per_million_predictions
from lft_ray.cost.prices import Price, price_of
from lft_ray.records import IngressProfile, ProfileBook, ScoredVariant, ServingProfile, Usage

PRICE = Price("p", 1e-5, 2e-4, 1e-5, 2e-4, as_of="now", source="test")
INGRESS = IngressProfile(machine="m", core_s_per_request=0.0003, requests_measured=1, repeats=1, spread=0.0)


def profile(core_s=0.002, device="cpu", size="minilm:3", precision="fp32"):
    return ServingProfile(
        model_size=size, precision=precision, max_length=128, engine="torch", device=device, machine="m", threads=1,
        core_s_per_text=core_s, texts_per_s=500, p50_ms=3, p95_ms=6, p99_ms=9, load_requests_per_s=50,
        peak_bytes=1, repeats=3, spread=0.02, texts_measured=100,
    )  # fmt: skip


def test_a_million_predictions_follow_the_one_definition():
    usd = usd_per_million_predictions(profile(), INGRESS, PRICE, utilisation=0.6)
    assert usd == pytest.approx(1e6 * 1e-5 * (0.002 + 0.0003) / 0.6)


def test_on_a_device_the_text_is_priced_by_the_device_and_the_request_by_a_core():
    usd = usd_per_million_predictions(profile(device="cuda"), INGRESS, PRICE, utilisation=0.5)
    assert usd == pytest.approx(1e6 * (2e-4 * 0.002 + 1e-5 * 0.0003) / 0.5)


def test_serving_never_takes_spot_rates():
    dear = price_of(CostSpec(price="c7a.xlarge"))
    spot = price_of(CostSpec(price="c7a.xlarge", spot=True))
    both = [usd_per_million_predictions(profile(), INGRESS, p, utilisation=0.6) for p in (dear, spot)]
    assert both[0] == both[1]


def test_a_month_never_costs_less_than_the_replicas_that_run():
    floor = 2 * 730 * 3600 * 1e-5
    args = {"min_replicas": 2, "cpus_per_replica": 1, "price": PRICE}
    assert monthly_usd(0.04, 1_000_000, **args) == pytest.approx(floor)
    assert monthly_usd(40.0, 10_000_000, **args) == pytest.approx(400.0)
    assert monthly_usd(0.04, 1_000_000, **{**args, "min_replicas": 0}) == pytest.approx(0.04)
    assert monthly_usd(0.0, 1, **args, on_device=True) == pytest.approx(2 * 730 * 3600 * 2e-4)


def test_variants_without_a_profile_stay_unpriced():
    book = ProfileBook(ingress=INGRESS, profiles=[profile()])
    variants = [ScoredVariant(precision=p, max_length=128, f1=0.9) for p in ("fp32", "bf16")]
    priced = price_variants(variants, "minilm:3", book, PRICE, utilisation=0.6)
    assert priced[0].usd_per_million_predictions == pytest.approx(
        usd_per_million_predictions(profile(), INGRESS, PRICE, utilisation=0.6)
    )
    assert priced[0].p95_ms == 6
    assert priced[1].usd_per_million_predictions is None
    assert priced[1].p95_ms is None


def test_training_pays_for_processor_seconds_not_for_waiting():
    assert training_usd(Usage(core_s=100, wall_s=1000), PRICE) == pytest.approx(1e-3)
    assert training_usd(Usage(core_s=200, wall_s=1000), PRICE) == pytest.approx(2e-3)


def test_training_on_a_device_pays_for_the_machine_once():
    assert training_usd(Usage(core_s=100, device_s=100), PRICE) == pytest.approx(0.02)
    # 4 cores come with the device of a 4-core machine: only above that do cores set the price.
    g6 = price_of(CostSpec(price="g6.xlarge"))
    assert training_usd(Usage(core_s=400, device_s=100), g6) == pytest.approx(0.8048 / 36)
    assert training_usd(Usage(core_s=800, device_s=100), g6) == pytest.approx(2 * 0.8048 / 36)
