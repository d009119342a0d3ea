import pytest

from lft_ray.config import CostSpec
from lft_ray.cost.prices import Price, price_of, price_table, rows
from lft_ray.errors import ConfigError


def half_price(spec):
    return Price("mine", 1e-5, 0.0, 5e-6, 0.0, as_of="today", source="my contract")


def not_a_price(spec):
    return 0.05


def test_every_row_of_the_sheet_is_dated_priced_and_says_where_to_check_it():
    table = price_table()
    assert len(table) > 25
    for name, row in table.items():
        assert row.as_of, name
        assert row.page, name
        assert (row.on_demand is not None) != (row.usd_per_core_hour is not None), name
        if row.spot is not None:
            assert 0 < row.spot < row.on_demand, name


def test_rows_are_flat_and_alike():
    table = rows()
    assert len({tuple(row) for row in table}) == 1
    assert next(r for r in table if r["name"] == "c7a.xlarge")["usd_per_core_hour"] == pytest.approx(0.05132)


def test_a_family_is_priced_in_proportion_to_its_size():
    table = price_table()
    for family in ("c7i", "c7a", "m7i", "c8i"):
        rates = [row.on_demand / row.vcpus for name, row in table.items() if name.startswith(f"{family}.")]
        assert max(rates) == pytest.approx(min(rates), rel=1e-3)


def test_this_machine_is_one_core_of_c7a():
    price = price_of(CostSpec())
    assert price.usd_per_core_s * 3600 == pytest.approx(price_table()["c7a.xlarge"].on_demand / 4)
    assert price.training_usd_per_core_s == price.usd_per_core_s
    assert price.usd_per_device_s * 3600 == pytest.approx(price_table()["g6.xlarge"].on_demand)


def test_a_gpu_machine_prices_its_device_as_the_whole_machine():
    price = price_of(CostSpec(price="g6.xlarge"))
    assert price.usd_per_device_s == pytest.approx(0.8048 / 3600)
    assert price.usd_per_core_s == pytest.approx(0.8048 / 4 / 3600)


def test_spot_is_for_training_only_and_only_where_the_row_has_it():
    spot = price_of(CostSpec(price="c7a.xlarge", spot=True))
    assert spot.spot
    assert spot.training_usd_per_core_s == pytest.approx(0.1022 / 4 / 3600)
    assert spot.usd_per_core_s == pytest.approx(0.20528 / 4 / 3600)
    without = price_of(CostSpec(price="m7i.xlarge", spot=True))
    assert not without.spot
    assert without.training_usd_per_core_s == without.usd_per_core_s


def test_own_prices_go_before_the_sheet():
    price = price_of(CostSpec(price="c7a.xlarge", spot=True, usd_per_core_hour=0.036))
    assert price.usd_per_core_s == price.training_usd_per_core_s == pytest.approx(1e-5)
    assert price.as_of == "yours"
    device = price_of(CostSpec(usd_per_device_hour=3.6))
    assert device.usd_per_device_s == pytest.approx(1e-3)
    assert device.usd_per_core_s == price_of(CostSpec()).usd_per_core_s


def test_an_unknown_name_gets_the_nearest_one_and_a_fix():
    with pytest.raises(ConfigError) as error:
        price_of(CostSpec(price="c7a.xlarg"))
    assert "'c7a.xlarg' at cost.price" in str(error.value)
    assert "Did you mean 'c7a.xlarge'?" in str(error.value)
    assert "cost.usd_per_core_hour" in error.value.fix


def test_a_users_own_source_is_called_with_the_spec():
    assert price_of(CostSpec(price="tests.cost.test_prices:half_price")).name == "mine"
    with pytest.raises(ConfigError, match="returned a float"):
        price_of(CostSpec(price="tests.cost.test_prices:not_a_price"))
    with pytest.raises(ConfigError, match="cannot import"):
        price_of(CostSpec(price="tests.cost.nowhere:price"))
