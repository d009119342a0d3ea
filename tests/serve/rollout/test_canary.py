import math
import random

import pytest
from scipy import stats

from lft_ray.config import RolloutSpec
from lft_ray.serve.rollout.canary import _rank, drift, verdict
from lft_ray.serve.rollout.stats import RequestStats

RULES = RolloutSpec(canary_share=0.1)


def stats_of(requests, *, errors=0, median_ms=10.0, shares=(0.5, 0.5), rng=None, into=None):
    rng = rng or random.Random(0)
    found = into or RequestStats()
    for _ in range(requests - errors):
        label = rng.choices("abcdefgh"[: len(shares)], shares)[0]
        found.add(median_ms * math.exp(rng.gauss(0.0, 0.5)), label)
    for _ in range(errors):
        found.fail()
    return found


def action(current, candidate, *, time_is_up=False):
    return verdict(current, candidate, RULES, time_is_up=time_is_up).action


def test_a_candidate_equal_to_the_running_model_waits_and_is_then_promoted():
    current, candidate = stats_of(2000, rng=random.Random(1)), stats_of(300, rng=random.Random(2))
    assert action(current, candidate) == "wait"
    assert action(current, candidate, time_is_up=True) == "promote"


def test_too_few_requests_prevent_the_promotion():
    found = verdict(stats_of(2000), stats_of(99), RULES, time_is_up=True)
    assert (found.action, found.reason) == ("wait", "the time is up, but it has served only 99 of 100 requests")


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (stats_of(5, errors=5), "5 of its 5 requests failed"),
        (stats_of(400, errors=40), "40 of its 400"),
        (stats_of(400, median_ms=25.0), "serve.rollout.max_p95_rise"),
        (stats_of(400, shares=(0.9, 0.1)), "serve.rollout.max_drift"),
        (stats_of(400, shares=(0.4, 0.4, 0.2)), "serve.rollout.max_drift"),
    ],
)
def test_a_worse_candidate_is_rolled_back(candidate, reason):
    found = verdict(stats_of(4000, rng=random.Random(3)), candidate, RULES, time_is_up=False)
    assert found.action == "rollback"
    assert reason in found.reason


@pytest.mark.parametrize(
    "candidate",
    [
        stats_of(400, errors=1),
        stats_of(400, median_ms=12.0),
        stats_of(400, shares=(0.55, 0.45)),
        stats_of(20, shares=(1.0, 0.0)),
        stats_of(400, median_ms=2.0),
    ],
)
def test_a_slightly_worse_candidate_stays(candidate):
    assert action(stats_of(4000, rng=random.Random(3)), candidate) == "wait"


def test_errors_that_both_models_have_do_not_count():
    assert action(stats_of(2000, errors=200), stats_of(300, errors=30)) == "wait"


def test_a_hundred_interim_checks_rarely_roll_back_an_equal_model():
    ended = 0
    for seed in range(100):
        rng = random.Random(seed)
        current, candidate = RequestStats(), RequestStats()
        for look in range(1, 101):
            stats_of(90, rng=rng, shares=(0.4, 0.3, 0.2, 0.1), into=current)
            stats_of(10, rng=rng, shares=(0.4, 0.3, 0.2, 0.1), into=candidate)
            if look % 10 == 0 and action(current, candidate) == "rollback":
                ended += 1
                break
    assert ended <= 2


def test_the_chi_square_test_agrees_with_scipy_stats():
    ours, theirs = {"a": 120, "b": 300, "c": 80}, {"a": 40, "b": 60, "c": 30}
    table = [[ours[k] for k in "abc"], [theirs[k] for k in "abc"]]
    assert drift(ours, theirs).p_value == pytest.approx(stats.chi2_contingency(table).pvalue)


def test_rare_labels_are_counted_together():
    ours, theirs = {"a": 500, **{f"r{n}": 1 for n in range(20)}}, {"a": 100, "new": 1}
    found = drift(ours, theirs)
    assert 0.01 < found.p_value < 1.0
    assert drift({}, ours).p_value == drift({"a": 5}, {"a": 9}).p_value == 1.0


@pytest.mark.parametrize("count", [1, 20, 100, 1234])
@pytest.mark.parametrize("probability", [1e-3, 0.05, 0.5, 0.999])
def test_ranks_are_binomial_quantiles(count, probability):
    assert _rank(count, probability) == stats.binom.ppf(probability, count, 0.95)
