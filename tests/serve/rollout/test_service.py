import asyncio

import pytest

from lft_ray.errors import BundleError
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.serve.rollout.state import DesiredState
from tests.serve.conftest import make_predictor, make_question_service

pytestmark = pytest.mark.anyio


def open_model(uri: str):
    """``good:<version>`` opens, ``slow:<version>`` opens a slow model, anything else is damaged."""
    kind, _, version = uri.partition(":")
    if kind == "broken":
        raise RuntimeError("an engine raised something odd")
    if kind not in ("good", "slow"):
        raise BundleError(f"{uri} is damaged")
    return make_predictor(version, pause_s=0.3 if kind == "slow" else 0.0)


async def test_a_good_bundle_takes_over_and_a_bad_one_does_not():
    service = Service(open_model)
    await service.reconfigure(DesiredState(current="good:1", serial=1))
    await service.reconfigure(DesiredState(current="good:2", previous="good:1", serial=2))
    assert (service.version, service.status.state) == ("2", "ready")
    for bad, reason in (("bad:3", "damaged"), ("broken:3", "odd")):
        state = await service.reconfigure(DesiredState(current=bad, previous="good:2", serial=3))
        assert (state.state, state.version, state.uri, state.serial) == ("rejected", "2", "good:2", 3)
        assert reason in state.reason
        assert (await service.predict(["bb"]))[1] == "2"


async def test_another_version_than_the_expected_one_is_rejected():
    service = Service(open_model)
    await service.reconfigure(DesiredState(current="good:1", serial=1))
    state = await service.reconfigure(DesiredState(current="good:2", version="9", serial=2))
    assert (state.state, service.version) == ("rejected", "1")


async def test_a_starting_replica_falls_back_to_the_previous_bundle():
    service = Service(open_model)
    state = await service.reconfigure(DesiredState(current="bad:2", previous="good:1", serial=5))
    assert (state.state, state.version, state.uri) == ("rejected", "1", "good:1")
    assert (await service.predict(["bb"]))[1] == "1"


async def test_a_starting_replica_without_any_good_bundle_raises():
    service = Service(open_model)
    with pytest.raises(BundleError, match="bad:1 is damaged"):
        await service.reconfigure(DesiredState(current="bad:1", previous="bad:0"))
    with pytest.raises(NotReady):
        await service.predict(["a"])


async def test_requests_in_flight_finish_on_the_model_that_started_them():
    service = Service(open_model)
    await service.reconfigure(DesiredState(current="slow:1", serial=1))
    pending = [asyncio.create_task(service.predict(["bb"])) for _ in range(4)]
    await asyncio.sleep(0.05)
    await service.reconfigure(DesiredState(current="good:2", serial=2))
    assert (await service.predict(["bb"]))[1] == "2"
    assert [version for _, version in await asyncio.gather(*pending)] == ["1"] * 4


async def test_the_newest_of_several_concurrent_desired_states_wins():
    service = Service(open_model)
    await service.reconfigure(DesiredState(current="good:1", serial=1))
    await asyncio.gather(*(service.reconfigure(DesiredState(current=f"good:{n}", serial=n)) for n in (4, 3, 2)))
    assert (service.version, service.status.serial) == ("4", 4)


async def test_a_desired_state_that_is_already_served_opens_nothing():
    opened = []
    service = Service(lambda uri: opened.append(uri) or open_model(uri))
    await service.reconfigure(DesiredState(current="good:1", serial=1))
    state = await service.reconfigure(DesiredState(current="good:1", version="1", serial=2))
    assert (opened, state.state, state.serial) == (["good:1"], "ready", 2)


async def test_long_contexts_are_not_remembered():
    service = await make_question_service()
    for context in ("in Leeds", "word " * 400):
        await service.predict([("Leeds?", context)])
    assert list(service._recent.values()) == [("Leeds?", "in Leeds")]
    await service.current.retire()
