import pytest

from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import Forecast, Rate
from lft_ray.cost.prices import Price
from lft_ray.errors import ConfigError
from lft_ray.records import TrialConfig
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.precheck import check_limits
from tests.search.budget.test_hard_budget import PRICE

STARTS = [TrialConfig(model_size="tfidf"), TrialConfig(model_size="tiny:1")]
WORK = {"tfidf": 2.0, "tiny:1": 20.0}


def admission(price: Price = PRICE, **limits) -> BudgetAdmission:
    return BudgetAdmission(
        Budget(**limits),
        Forecast({"cpu": Rate(start_s=0.0, flops_per_s=1.0)}),
        price,
        work=lambda config: WORK[config.model_size],
        device=lambda config: "cpu",
        retries=2,
        lost_s=5.0,
        clock=lambda: 0.0,
    )


def test_a_budget_below_the_worst_case_of_the_cheapest_trial_is_refused_in_readable_dollars():
    worst = admission().worst_usd(STARTS[0])
    check_limits(admission(budget_usd=worst * 1.01), STARTS)
    words = r"search.budget_usd is \$1e-07.*cheapest trial \(tfidf\).*no trial could start"
    with pytest.raises(ConfigError, match=words):
        check_limits(admission(budget_usd=1e-7), STARTS)
    # A share is kept for fresh seeds, and the fix counts it.
    with pytest.raises(ConfigError, match="30% of it is kept for fresh seeds"):
        check_limits(admission(budget_usd=worst * 1.01, confirmation_fraction=0.3), STARTS)
    check_limits(admission(budget_usd=worst * 1.5, confirmation_fraction=0.3), STARTS)


def test_minutes_in_which_no_process_could_start_and_fit_are_refused():
    check_limits(admission(minutes=1.0), STARTS)
    with pytest.raises(ConfigError, match=r"search.minutes is 0.001, so trials have 0.06 s, and the fastest \(tfidf\)"):
        check_limits(admission(minutes=0.001), STARTS)


def test_without_limits_or_start_trials_nothing_is_refused():
    check_limits(admission(), STARTS)
    check_limits(admission(budget_usd=1e-9), [])
