import pytest

from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import Forecast, Rate
from lft_ray.cost.prices import Price
from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, Usage
from lft_ray.search.budget.admission import AlwaysAdmit, BudgetAdmission

PRICE = Price("p", 0.01, 0.0, 0.01, 0.0, as_of="2026-11-01", source="test")
SMALL, LARGE = TrialConfig(model_size="tiny:1"), TrialConfig(model_size="tiny:6")


def admission(clock=lambda: 0.0, **budget) -> BudgetAdmission:
    return BudgetAdmission(
        Budget(**budget),
        Forecast({"cpu": Rate(start_s=0.0, flops_per_s=1.0)}),
        PRICE,
        work=lambda c: 10.0 if c == SMALL else 100.0,
        device=lambda c: "cpu",
        retries=2,
        lost_s=5.0,
        clock=clock,
    )


def ended(config: TrialConfig, seconds: float, status: str = "done", trial_id: str = "t000") -> TrialRecord:
    usage = Usage(core_s=seconds, wall_s=seconds)
    return TrialRecord(
        trial_id=trial_id, attempt=1, config=config, status=status, usage=usage, training_usd=seconds * 0.01
    )


def test_the_worst_case_counts_retries():
    # 10 s, three times that while nothing is measured, and 5 s lost in each of two retries: 60 s at a cent.
    assert admission(budget_usd=0.6).verdict(SMALL, "search")
    assert not admission(budget_usd=0.59).verdict(SMALL, "search")


def test_reservations_count_until_they_are_settled():
    a = admission(budget_usd=1.0)
    a.reserve("t000", SMALL, "search")
    assert not a.verdict(SMALL, "search")
    a.settle(ended(SMALL, 10.0))
    assert a.budget.spent_usd == pytest.approx(0.1)
    assert a.verdict(SMALL, "search")


def test_dollars_reserved_for_confirmation_are_not_available_to_the_search():
    a = admission(budget_usd=1.0, confirmation_fraction=0.5)
    assert not a.verdict(SMALL, "search")
    assert a.verdict(SMALL, "confirm")


def test_a_trial_that_would_not_end_in_time_is_not_started():
    now = 0.0
    a = admission(lambda: now, minutes=1.0)
    assert a.verdict(LARGE, "search")  # nothing is measured: the deadline will stop it
    a.settle(ended(SMALL, 10.0))
    assert a.verdict(SMALL, "search")
    assert not a.verdict(LARGE, "search")
    now = 55.0
    assert not a.verdict(SMALL, "search")


def test_the_forecast_learns_from_finished_trials_only():
    a = admission()
    a.settle(ended(SMALL, 1.0, "stopped"))
    a.settle(ended(SMALL, 1.0, "failed", "t001"))
    assert not a.forecast.is_measured("cpu")
    a.settle(ended(SMALL, 20.0, trial_id="t002"))
    assert a.forecast.predict(10.0).wall_s == pytest.approx(20.0)


def test_the_forecast_learns_from_the_completed_share_of_an_early_stopped_trial():
    a = admission()
    point = CurvePoint(fraction=0.5, f1=0.9, loss=0.1, train_s=1.0)
    a.settle(ended(SMALL, 10.0).model_copy(update={"curve": [point]}))
    assert a.forecast.predict(10.0).wall_s == pytest.approx(20.0)


def test_without_limits_everything_may_start():
    free = AlwaysAdmit()
    free.reserve("t000", LARGE, "search")
    free.settle(ended(LARGE, 1e9))
    assert free.verdict(LARGE, "search")


def test_expected_dollars_come_from_flops_alone_where_the_order_of_trials_decides():
    a = admission()
    assert a.expected_usd(SMALL) == pytest.approx(0.10)
    a.settle(ended(SMALL, 30.0))
    a.settle(ended(LARGE, 300.0, trial_id="t001"))
    assert a.expected_usd(LARGE) == pytest.approx(3.0)
    # The stated rates: 10 s, and 2e10 FLOPs a second.
    assert a.expected_usd(LARGE, uses_measured=False) == pytest.approx(0.1)
