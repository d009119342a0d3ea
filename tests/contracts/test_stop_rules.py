"""Every stop rule keeps the contract of `lft_ray.search.stopping.base.StopRule`."""

from collections.abc import Callable

import numpy as np
import pytest

from lft_ray.config.base import SCHEDULERS
from lft_ray.plugins import resolve
from lft_ray.search.stopping.base import StopRule
from tests.search.curves import COSTS, draw, ended, standing

Make = Callable[..., StopRule]
STOPPING = sorted(set(SCHEDULERS) - {"fifo"})


@pytest.fixture(params=sorted(SCHEDULERS))
def make(request: pytest.FixtureRequest) -> Make:
    return resolve(request.param, SCHEDULERS, where="search.scheduler")


@pytest.fixture
def peers():
    """60 finished trials of all sizes, the dearer the better."""
    rng = np.random.default_rng(3)
    sizes = sorted(COSTS)
    return [ended(i, [f1 - 0.1 + COSTS[sizes[i % 4]] / 100 for f1 in draw(rng)], sizes[i % 4]) for i in range(60)]


def standings(peers, count=200):
    rng = np.random.default_rng(4)
    for number in range(500, 500 + count):
        size = sorted(COSTS)[number % 4]
        yield standing(draw(rng)[: 1 + number % 2], peers, size=size, number=number)


@pytest.mark.parametrize("kind", STOPPING)
def test_some_trials_are_stopped_and_the_reason_says_why(kind, peers):
    rule = resolve(kind, SCHEDULERS, where="search.scheduler")(0)
    reasons = [reason for s in standings(peers) if (reason := rule(s))]
    assert 10 < len(reasons) < 190
    assert all("F1" in reason and "\n" not in reason for reason in reasons)


def test_the_same_standing_has_the_same_answer(make, peers):
    first, second = make(7), make(7)
    asked = list(standings(peers))
    answers = [first(s) for s in asked]
    assert [second(s) for s in reversed(asked)] == answers[::-1]
    assert [first(s) for s in asked] == answers


def test_the_order_of_what_has_ended_is_of_no_matter(make, peers):
    rule = make(0)
    assert [rule(s) for s in standings(peers)] == [rule(s) for s in standings(peers[::-1])]


def test_a_trial_on_the_current_front_goes_on(make, peers):
    """Nothing finished or running is as cheap and as good already at this point of its curve."""
    rule = make(0)
    best = {
        size: max(p.f1 for r in peers if COSTS[r.config.model_size] <= usd for p in r.curve)
        for size, usd in COSTS.items()
    }
    for size, f1 in best.items():
        for reached in (1, 2):
            assert rule(standing([f1 + 1e-4] * reached, peers, size=size)) == ""


def test_the_cheapest_size_is_not_stopped_for_being_worse_than_dearer_ones(make, peers):
    dearer = [r for r in peers if r.config.model_size != "tiny:1"]
    assert make(0)(standing([0.3, 0.35], dearer, size="tiny:1")) == ""


def test_few_trials_stop_nothing(make, peers):
    best = ended(0, [0.97, 0.98, 0.99], "tiny:1")
    assert make(0)(standing([0.2, 0.2], [best])) == ""
    assert make(0)(standing([0.2, 0.2])) == ""


def test_start_trials_the_frozen_probe_and_the_end_are_no_look(make, peers):
    rule = make(0)
    assert rule(standing([0.1], peers, start=True)) == ""
    assert rule(standing([0.1, 0.1, 0.1], peers)) == ""
    at_zero = standing([0.1], peers)
    at_zero.curve[0] = at_zero.curve[0].model_copy(update={"fraction": 0.0})
    assert rule(at_zero) == ""


@pytest.mark.parametrize("kind", STOPPING)
def test_a_point_between_two_looks_is_no_second_chance_to_stop(kind, peers):
    rule = resolve(kind, SCHEDULERS, where="search.scheduler")(0)
    asked = standing([0.1], peers)
    assert rule(asked)
    asked.curve.append(asked.curve[0].model_copy(update={"fraction": 0.5}))
    assert rule(asked) == ""


@pytest.mark.parametrize("kind", STOPPING)
def test_probes_are_never_stopped(kind, peers):
    make = resolve(kind, SCHEDULERS, where="search.scheduler")
    assert not any(make(0, probe_share=1.0)(s) for s in standings(peers))
    poor = [standing([0.1], peers, number=number) for number in range(500, 900)]
    stopped = [bool(make(0, probe_share=0.1)(s)) for s in poor]
    assert stopped == [bool(make(0, probe_share=0.1)(s)) for s in poor]
    assert 0.84 < sum(stopped) / len(stopped) < 0.96
    assert stopped != [bool(make(1, probe_share=0.1)(s)) for s in poor]
