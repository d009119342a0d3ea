import pytest

from lft_ray.cost.break_even import Month, break_even, break_even_of, dollars
from lft_ray.cost.dollars import HOURS_PER_MONTH
from lft_ray.cost.prices import Price
from lft_ray.records import FrontPoint
from tests import handed_down
from tests.report.builders import experiment, profiles, records, selection

CENT_A_SECOND = Price("p", 0.01, 0.0, 0.01, 0.0, as_of="now", source="test")
FLOOR = HOURS_PER_MONTH * 3600 * 0.01


def point(size: str, usd: float, trial: str = "t0") -> FrontPoint:
    return FrontPoint(
        trial_id=trial, model_size=size, precision="fp32", max_length=64, f1=0.9, usd_per_million_predictions=usd
    )


def month(requests: int = 10_000_000, replicas: int = 0) -> Month:
    return Month(requests=requests, min_replicas=replicas, cpus_per_replica=1, price=CENT_A_SECOND)


SMALL, MIDDLE, LARGE = point("m:1", 0.05), point("m:3", 0.10), point("m:6", 0.20)


def result(winner=SMALL, finalists=(SMALL, MIDDLE), ladder=(SMALL, MIDDLE, LARGE), spent=1.0, **of_month):
    return break_even(winner, finalists=finalists, ladder=ladder, search_usd=spent, month=month(**of_month))


def test_the_search_is_back_after_its_dollars_over_the_saving_of_a_prediction():
    against_finalist, against_size = result().savings
    assert (against_finalist.against, against_finalist.model_size) == ("largest_finalist", "m:3")
    assert against_finalist.saved_usd_per_month == pytest.approx(0.5)
    assert (against_finalist.months, against_finalist.predictions) == (pytest.approx(2.0), 20_000_000)
    assert (against_size.model_size, against_size.predictions) == ("m:6", 6_666_667)
    assert against_size.saved_usd_per_month == pytest.approx(1.5)
    assert "saves $0.500 a month over m:3 (the largest finalist)" in result().sentence
    assert "recovered after 20,000,000 predictions (2.0 months)" in result().sentence


def test_the_most_expensive_winner_never_pays():
    found = result(winner=LARGE, finalists=(SMALL, LARGE))
    assert [s.verdict for s in found.savings] == ["never", "never"]
    assert all(s.saved_usd_per_month == 0 and s.predictions is s.months is None for s in found.savings)
    assert found.sentence.startswith("The search never pays for itself")


def test_a_winner_that_is_the_largest_finalist_is_compared_with_the_most_expensive_size():
    found = result(winner=MIDDLE)
    assert [s.verdict for s in found.savings] == ["never", "pays"]
    assert "over m:6 (the most expensive size that finished)" in found.sentence


def test_break_even_without_finalists_and_ladder():
    assert [s.verdict for s in result(finalists=(), ladder=()).savings] == ["never", "never"]


def test_running_replicas_that_set_both_prices_are_named():
    found = result(replicas=1)
    saving = found.savings[0]
    assert found.winner_monthly_usd == saving.monthly_usd == pytest.approx(FLOOR)
    assert (saving.verdict, saving.saved_usd_per_month, saving.predictions) == ("floor", 0.0, None)
    assert saving.predictions_by_traffic == 20_000_000
    assert saving.saves_from_requests == pytest.approx(1e6 * FLOOR / 0.10, abs=1)
    assert "one running replica sets the price of both" in found.sentence
    # From that traffic on the rival does cost more.
    above = result(replicas=1, requests=saving.saves_from_requests + 1_000_000).savings[0]
    assert above.verdict == "pays"


def test_a_winner_below_the_floor_saves_what_the_rival_costs_above_it():
    requests = round(1e6 * FLOOR / 0.08)
    saving = result(replicas=1, requests=requests).savings[0]
    assert saving.saved_usd_per_month == pytest.approx(FLOOR * (0.10 / 0.08 - 1), rel=1e-6)
    # The floor makes the saving smaller, so the search takes longer to come back than by traffic alone.
    assert saving.predictions > saving.predictions_by_traffic


def test_a_search_that_cost_nothing_is_back_at_once():
    saving = result(spent=0.0).savings[0]
    assert (saving.verdict, saving.months, saving.predictions) == ("pays", 0.0, 0)


def test_of_a_run_all_trials_count_fresh_seeds_included():
    found = break_even_of(handed_down.money(experiment()).month, profiles(), selection(), records())
    assert found.search_usd == pytest.approx(0.008)
    assert (found.winner, found.savings[0].model_size, found.savings[0].verdict) == ("minilm:3", "minilm:6", "floor")
    assert found.winner_monthly_usd == pytest.approx(0.05132 * 730)
    assert break_even_of(handed_down.money(experiment()).month, profiles(), None, records()) is None
    assert type(found).model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "$0"), (0.00264, "$0.00264"), (0.5, "$0.500"), (37.46, "$37.46"), (1234.5, "$1,234.50")]
)
def test_dollars_read_as_people_write_them(value, text):
    assert dollars(value) == text


def test_never_is_not_said_of_sizes_that_were_not_trained():
    found = break_even(MIDDLE, finalists=[], ladder=[SMALL, MIDDLE], search_usd=1.0, month=month(), untried=["m:6"])
    assert [s.verdict for s in found.savings] == ["unknown", "unknown"]
    assert found.sentence.startswith("Whether the search pays for itself is not known: m:3 is the most expensive to")
    assert "no trial of m:6 did" in found.sentence
