from lft_ray.config import Experiment
from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import Forecast, Rate
from lft_ray.cost.prices import Price
from lft_ray.records import TrialConfig
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.confirm import Remaining, RunCost, fresh_seeds, max_runs, max_seeds, rounds, run_cost

NEW = [0] * 9


def costs(*usd: float) -> list[RunCost]:
    return [RunCost(usd=value, worst_usd=2 * value, wall_s=10 * value) for value in usd]


def test_three_seeds_at_most_and_five_where_rows_are_few():
    assert [max_seeds(rows) for rows in (200, 999, 1000, 9000)] == [5, 5, 3, 3]
    assert fresh_seeds(costs(1, 1), NEW, Remaining(), 3) == [3, 3]
    assert fresh_seeds([], NEW, Remaining(), 3) == []


def test_a_requested_number_of_seeds_is_used():
    assert [max_seeds(rows, 2) for rows in (200, 9000)] == [2, 2]
    assert max_seeds(200, 8) == 8


def experiment(search: dict[str, float], **selection: float) -> Experiment:
    base = {"name": "news", "data": {"train": "news.csv"}, "models": [{"base": "tfidf"}]}
    return Experiment.model_validate({**base, "search": search, "selection": selection})


def most(made: Experiment, rows: int) -> int:
    return max_runs(made.selection, made.search, rows, sizes=4)


def test_runs_at_most_are_counted_in_trials_only_where_no_limit_is_set():
    assert most(experiment({"trials": 20}, confirmation_fraction=0.25), 5000) == 5
    assert most(experiment({"trials": 3}, confirmation_fraction=0.25), 5000) == 2, "the first two always get one"
    assert most(experiment({"trials": 20, "minutes": 5.0}, confirmation_fraction=0.25), 5000) == 18
    assert most(experiment({"trials": 20, "budget_usd": 5.0}, confirmation_fraction=0.25), 500) == 30
    assert most(experiment({"trials": 20, "minutes": 5.0}, confirmation_fraction=0.25, confirmation_seeds=2), 500) == 12
    assert most(experiment({"trials": 20, "minutes": 5.0}, confirmation_fraction=0.0), 500) == 0


def test_as_many_seeds_as_the_dollars_hold_the_last_at_its_worst():
    # Two finalists, two seeds each: 4 dollars, and the last may come to 2 instead of 1.
    assert fresh_seeds(costs(1, 1), NEW, Remaining(usd=5.0), 3) == [2, 2]
    assert fresh_seeds(costs(1, 1), NEW, Remaining(usd=4.9), 3) == [1, 1]
    assert fresh_seeds(costs(1, 1), NEW, Remaining(usd=7.0), 3) == [3, 3]


def test_as_many_seeds_as_the_minutes_hold_slots_counted():
    assert fresh_seeds(costs(1, 1), NEW, Remaining(wall_s=40), 5) == [2, 2]
    assert fresh_seeds(costs(1, 1), NEW, Remaining(wall_s=40, slots=2), 5) == [4, 4]
    assert fresh_seeds(costs(1, 1), NEW, Remaining(wall_s=40, usd=3.0), 5) == [1, 1]


def test_the_last_finalists_are_cut_until_two_seeds_of_the_others_fit():
    assert fresh_seeds(costs(1, 1, 1, 1), NEW, Remaining(runs=8), 3) == [2, 2, 2, 2]
    assert fresh_seeds(costs(1, 1, 1, 1), NEW, Remaining(runs=7), 3) == [2, 2, 2, 0]
    assert fresh_seeds(costs(1, 1, 1, 1), NEW, Remaining(runs=4), 3) == [2, 2, 0, 0]
    # Not even two finalists fit with two seeds each: then one each, for as many as fit.
    assert fresh_seeds(costs(1, 1, 1, 1), NEW, Remaining(runs=3), 3) == [1, 1, 1, 0]
    # The best and one more are always tried: admission has the last word.
    assert fresh_seeds(costs(1, 1, 1), NEW, Remaining(usd=0.0), 3) == [1, 1, 0]
    assert fresh_seeds(costs(1), NEW, Remaining(runs=2), 3) == [2]


def test_runs_that_are_done_cost_nothing_on_resume():
    assert fresh_seeds(costs(1, 1), [2, 2], Remaining(usd=0.0), 3) == [2, 2]
    assert fresh_seeds(costs(1, 1), [2, 1], Remaining(usd=2.0), 3) == [2, 2]
    # A count is of the whole study: the same before and after.
    assert fresh_seeds(costs(1, 1), [2, 2], Remaining(runs=4), 3) == [2, 2]


def test_rounds_give_everyone_a_seed_before_anyone_gets_the_next():
    assert rounds([2, 2, 0]) == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert rounds([]) == []


def test_a_runs_cost_is_the_forecasts():
    admission = BudgetAdmission(
        Budget(),
        Forecast({"cpu": Rate(start_s=0.0, flops_per_s=1.0)}),
        Price("p", 0.01, 0.0, 0.01, 0.0, as_of="2026-11-01", source="test"),
        work=lambda config: 10.0,
        device=lambda config: "cpu",
        retries=2,
        lost_s=5.0,
    )
    found = run_cost(admission, TrialConfig(model_size="tiny:1"))
    # 10 s at a cent; unmeasured three times that, and 5 s lost in each of two retries.
    assert (round(found.usd, 6), round(found.worst_usd, 6), round(found.wall_s, 6)) == (0.1, 0.6, 11.0)
