import pytest

from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.protocols.base import MAX_BATCH, InferenceRequest
from lft_ray.serve.protocols.inference import InferenceHandler
from lft_ray.serve.rollout.service import Service
from tests.serve.conftest import make_service

pytestmark = pytest.mark.anyio

LONG = "b " * 40  # the test model reads 32 words


async def test_infer_returns_predictions_with_tokens_and_truncation(service):
    response = await InferenceHandler(service).infer(InferenceRequest(["bbb", LONG], top_k=1), "id-1")
    assert [[score.label for score in scores] for scores in response.predictions] == [["business"], ["business"]]
    assert (list(response.tokens), list(response.truncated)) == ([1, 32], [False, True])
    assert (response.request_id, response.info.version) == ("id-1", "abc123abc123")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (InferenceRequest(["a"] * (MAX_BATCH + 1)), "129 texts exceed the limit of 128 texts per request"),
        (InferenceRequest([LONG], truncate=False), "longer than the 32 tokens"),
    ],
)
async def test_too_many_texts_and_too_long_texts_are_413(service, request_, reason):
    with pytest.raises(HttpError, match=reason) as raised:
        await InferenceHandler(service).infer(request_, "id")
    assert raised.value.status == 413


async def test_infer_is_503_before_a_model_is_ready():
    with pytest.raises(HttpError, match="no model is ready yet") as raised:
        await InferenceHandler(Service(lambda _: None)).infer(InferenceRequest(["a"]), "id")
    assert (raised.value.status, raised.value.headers) == (503, {"retry-after": "1"})


async def test_infer_is_503_after_the_time_limit(monkeypatch):
    monkeypatch.setattr("lft_ray.serve.protocols.inference.RESPONSE_SECONDS", 0.02)
    service = await make_service(pause_s=0.1)
    with pytest.raises(HttpError, match="no response within") as raised:
        await InferenceHandler(service).infer(InferenceRequest(["a"]), "id")
    assert raised.value.status == 503
    await service.current.retire()


async def test_a_full_queue_is_named_overloaded():
    service = await make_service(pause_s=0.05)
    service.current._batcher.close()
    with pytest.raises(HttpError, match="the queue is full") as raised:
        await InferenceHandler(service).infer(InferenceRequest(["a"]), "id")
    assert raised.value.kind == "overloaded"
