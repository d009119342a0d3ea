import asyncio

import pytest

from lft_ray.serve.rollout import traffic_split
from lft_ray.serve.rollout.traffic_split import CanaryRoute, in_canary
from tests.serve.conftest import make_predictor, make_question_predictor
from tests.serve.fleet import OddRunner

pytestmark = pytest.mark.anyio

KEYS = [f"request {number}" for number in range(200)]
CANARY_KEY = next(key for key in KEYS if in_canary(key, 0.5))
OTHER_KEY = next(key for key in KEYS if not in_canary(key, 0.5))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_a_share_is_a_share_and_a_key_stays_on_its_side(share):
    keys = [f"{number:032x}" for number in range(20000)]
    assert sum(in_canary(key, share) for key in keys) / 20000 == pytest.approx(share, abs=0.02)
    assert all(in_canary(key, 0.5) for key in keys if in_canary(key, share))


def route_to(candidate, share: float = 0.5) -> CanaryRoute:
    route = CanaryRoute("uri", candidate)
    route.begin(share)
    return route


async def predict(route, running, key):
    predictions, version = await route.predict(running, ["bb"], top_k=1, function=None, key=key)
    return predictions[0][0].label, version


async def test_the_key_selects_the_model_and_its_statistics():
    running, candidate = make_predictor("1"), make_predictor("2")
    route = route_to(candidate)
    assert await predict(route, running, CANARY_KEY) == ("business", "2")
    assert await predict(route, running, OTHER_KEY) == ("business", "1")
    stats = route.stats()
    assert [(one.requests, one.errors, one.buckets) for one in (stats.current, stats.candidate)] == [
        (1, 0, {"business": 1})
    ] * 2
    assert (route.info().version, route.info().requests) == ("2", 1)
    await running.retire()
    await candidate.retire()


async def test_without_a_key_the_draw_follows_the_share():
    running, candidate = make_predictor("1"), make_predictor("2")
    assert (await predict(route_to(candidate, 1.0), running, None))[1] == "2"
    assert (await predict(route_to(candidate, 0.0), running, None))[1] == "1"
    await running.retire()
    await candidate.retire()


async def test_a_failing_candidate_costs_no_response():
    running, candidate = make_predictor("1"), make_predictor("2")
    candidate._batcher._runner = OddRunner("nan")
    route = route_to(candidate)
    assert await predict(route, running, CANARY_KEY) == ("business", "1")
    assert (route.stats().candidate.errors, route.stats().current.requests) == (1, 0)
    await running.retire()
    await candidate.retire()


async def test_a_hanging_candidate_costs_no_response(monkeypatch):
    monkeypatch.setattr(traffic_split, "CANDIDATE_TIMEOUT_S", 0.02)
    running, candidate = make_predictor("1"), make_predictor("2", pause_s=0.1)
    route = route_to(candidate)
    assert await predict(route, running, CANARY_KEY) == ("business", "1")
    assert route.stats().candidate.errors == 1
    await asyncio.sleep(0.1)
    await running.retire()
    await candidate.retire()


async def test_a_new_share_resets_the_statistics_and_the_same_one_does_not():
    running, candidate = make_predictor("1"), make_predictor("2")
    route = route_to(candidate)
    await predict(route, running, CANARY_KEY)
    route.begin(0.5)
    assert route.stats().candidate.requests == 1
    route.begin(0.6)
    assert route.stats().candidate.requests == 0
    await running.retire()
    await candidate.retire()


async def test_answers_are_counted_by_their_kind():
    running, candidate = make_question_predictor("1"), make_question_predictor("2")
    route = route_to(candidate)
    for asked in ([("Leeds", "in Leeds")], [("York", "in Leeds")]):
        for key in (CANARY_KEY, OTHER_KEY):
            predictions, _ = await route.predict(running, asked, top_k=2, function=None, key=key)
    assert predictions[0][0].answer == ""
    stats = route.stats()
    assert stats.candidate.buckets == stats.current.buckets == {"1 to 3 words": 1, "no answer": 1}
    await running.retire()
    await candidate.retire()
