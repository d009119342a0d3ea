import asyncio

import pytest

from lft_ray.engines.batching import Overloaded
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor
from tests.serve.conftest import make_predictor

pytestmark = pytest.mark.anyio


async def test_an_opened_bundle_predicts_its_labels(bundles):
    predictor = open_predictor(bundles["first"].uri, ReplicaThreads(1), limits=LIMITS)
    [scores], [best] = await predictor.predict(["the bank makes profit"]), await predictor.predict(["goal"], top_k=1)
    await predictor.retire()
    assert scores[0].label == "business"
    assert sum(s.score for s in scores) == pytest.approx(1.0, abs=1e-5)
    assert [s.label for s in best] == ["sport"]
    assert predictor.version == bundles["first"].version
    assert predictor.info.max_batch == LIMITS["max_batch"]


async def test_retire_waits_for_requests_in_flight():
    predictor = make_predictor(pause_s=0.1)
    pending = asyncio.create_task(predictor.predict(["a"]))
    await asyncio.sleep(0.02)
    await predictor.retire()
    assert pending.done()
    assert len((await pending)[0]) == 3


async def test_check_raises_when_the_engine_hangs(monkeypatch):
    monkeypatch.setattr("lft_ray.serve.model.predictor.STUCK_S", 0.05)
    predictor = make_predictor(pause_s=0.3)
    predictor.check()
    pending = asyncio.create_task(predictor.predict(["a"]))
    await asyncio.sleep(0.15)
    with pytest.raises(RuntimeError, match="no result from the engine"):
        predictor.check()
    await pending
    predictor.check()
    await predictor.retire()


async def test_the_queue_is_limited_to_max_queued_texts(bundles):
    predictor = open_predictor(bundles["first"].uri, ReplicaThreads(1, max_queued_texts=128), limits=LIMITS)
    with pytest.raises(Overloaded, match="0 of at most 128 texts are waiting, and 129 more"):
        await predictor.predict(["goal"] * 129)
    assert len(await predictor.predict(["goal"] * 128)) == 128
    await predictor.retire()
