import random

import pytest

from lft_ray.cost.budget import Budget
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus


def record(trial_id, usd, role="search"):
    return TrialRecord(
        trial_id=trial_id, attempt=0, config=TrialConfig(model_size="tfidf"), status=TrialStatus.FAILED,
        training_usd=usd, role=role,
    )  # fmt: skip


def test_without_limits_everything_starts():
    budget = Budget()
    assert budget.can_start(1e9, 1e9, now_s=1e9)
    assert budget.left_usd() is None
    assert budget.deadline_s() is None


def test_search_leaves_the_share_of_the_confirmation_runs():
    budget = Budget(budget_usd=1.0, confirmation_fraction=0.3)
    assert budget.can_start(0.7, None, now_s=0)
    verdict = budget.can_start(0.71, None, now_s=0)
    assert not verdict
    assert "worst-case cost $0.71 exceeds the remaining budget $0.7" in verdict.reason
    assert budget.can_start(1.0, None, now_s=0, role="confirm")


def test_running_trials_count_with_their_worst_case_until_they_are_settled():
    budget = Budget(budget_usd=1.0)
    budget.reserve("a", 0.6)
    assert budget.left_usd() == pytest.approx(0.4)
    assert not budget.can_start(0.5, None, now_s=0)
    budget.settle("a", 0.2)
    assert budget.spent_usd == pytest.approx(0.2)
    assert budget.reserved_usd == 0
    assert budget.can_start(0.8, None, now_s=0)


def test_confirmation_runs_use_up_their_own_share_first():
    budget = Budget(budget_usd=1.0, confirmation_fraction=0.3)
    budget.reserve("c1", 0.2, role="confirm")
    assert budget.confirmation_reserve_usd == pytest.approx(0.1)
    assert budget.left_usd("search") == pytest.approx(0.7)
    budget.settle("c1", 0.1)
    assert budget.confirmation_reserve_usd == pytest.approx(0.2)
    assert budget.spent_usd == pytest.approx(0.1)


def test_money_of_an_earlier_session_stays_spent():
    budget = Budget(budget_usd=1.0, confirmation_fraction=0.3)
    budget.settle_records([record("a", 0.25), record("c", 0.1, role="confirm")])
    assert budget.spent_usd == pytest.approx(0.35)
    assert budget.left_usd() == pytest.approx(1 - 0.35 - 0.2)


def test_a_trial_that_would_not_finish_is_not_started():
    budget = Budget(minutes=10, confirmation_fraction=0.3, started_s=100)
    assert budget.deadline_s() == pytest.approx(100 + 420)
    assert budget.deadline_s("confirm") == pytest.approx(700)
    assert budget.can_start(0, 300, now_s=200)
    verdict = budget.can_start(0, 330, now_s=200)
    assert verdict.reason == "predicted to take 330 s, with 320 s left until the deadline"
    assert budget.can_start(0, 330, now_s=200, role="confirm")
    assert budget.can_start(0, 1, now_s=521).reason == "deadline reached"


def test_a_guess_does_not_forbid_the_first_measurement():
    budget = Budget(minutes=1)
    assert budget.can_start(0, None, now_s=59)
    assert not budget.can_start(0, None, now_s=60)


def test_no_order_of_starts_and_ends_spends_more_than_the_budget():
    for seed in range(200):
        rng = random.Random(seed)
        budget = Budget(budget_usd=1.0, confirmation_fraction=rng.choice([0.0, 0.3]))
        running = {}
        for i in range(60):
            worst = rng.uniform(0.01, 0.5)
            role = "confirm" if i > 40 else "search"
            if rng.random() < 0.6 and budget.can_start(worst, None, now_s=0, role=role):
                budget.reserve(str(i), worst, role=role)
                running[str(i)] = worst
            elif running:
                trial_id = rng.choice(sorted(running))
                budget.settle(trial_id, rng.uniform(0, 1) * running.pop(trial_id))
            search = budget._spent["search"] + sum(u for r, u in budget._reserved.values() if r == "search")
            assert search <= 1.0 - budget.confirmation_fraction + 1e-9
        for trial_id, worst in running.items():
            budget.settle(trial_id, worst)
        assert budget.spent_usd <= 1.0 + 1e-9
