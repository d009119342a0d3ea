import asyncio

import httpx
import pytest

from lft_ray.serve.api.app import LIMITS, MAX_BATCH, MAX_BODY_BYTES
from lft_ray.serve.http.auth import ApiKeys, hash_keys
from lft_ray.serve.http.errors import OPEN_PATHS
from lft_ray.serve.rollout.service import Service
from lft_ray.wire import ErrorBody, Info
from tests.serve.conftest import client_of, make_service

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


async def post(http: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await http.post("/", content=body, headers=JSON | headers)


def assert_error(response: httpx.Response, status: int, *, says: str = "") -> ErrorBody:
    assert response.status_code == status, response.text
    body = ErrorBody.model_validate_json(response.content)
    assert says in body.error
    assert response.headers["content-type"] == "application/json"
    assert body.request_id == response.headers["x-request-id"]
    assert ("x-model-version" in response.headers) == (status != 401)
    assert "Traceback" not in response.text
    return body


# ---------------------------------------------------------------- predictions


async def test_the_response_to_one_text_is_nested_and_best_first(http):
    response = await http.post("/", json={"inputs": "sss b"})
    assert response.status_code == 200
    [scores] = response.json()
    assert {s["label"] for s in scores[:2]} == {"science", "sport"}
    assert [s["score"] for s in scores] == sorted((s["score"] for s in scores), reverse=True)
    assert sum(s["score"] for s in scores) == pytest.approx(1.0, abs=1e-6)
    assert response.headers["x-model-version"] == "abc123abc123"
    assert response.headers["x-request-id"]


async def test_a_batch_keeps_its_order(http):
    response = await http.post("/", json={"inputs": ["bbb", "s", "bbbb"], "parameters": {"top_k": 1}})
    assert [[s["label"] for s in one] for one in response.json()] == [["business"], ["science"], ["business"]]


async def test_functions_are_applied_to_the_logits(http):
    async def scores(function):
        body = {"inputs": "bb", "parameters": {"function_to_apply": function}}
        return {s["label"]: s["score"] for s in (await http.post("/", json=body)).json()[0]}

    assert (await scores("none"))["business"] == 2.0
    assert (await scores("sigmoid"))["business"] == pytest.approx(0.880797, abs=1e-5)
    assert (await scores("softmax")) == pytest.approx(await scores(None))


async def test_a_given_request_id_comes_back_and_an_unsafe_one_does_not(http):
    assert (await http.get("/health", headers={"x-request-id": "abc-1"})).headers["x-request-id"] == "abc-1"
    assert (await http.get("/health", headers={"x-request-id": "a b<script>"})).headers["x-request-id"] != "a b<script>"


async def test_info_describes_the_model_and_the_limits(http):
    info = Info.model_validate_json((await http.get("/info")).content)
    assert (info.model, info.max_batch, info.labels) == ("minilm:1", MAX_BATCH, ["business", "science", "sport"])


async def test_openapi_describes_the_request_and_the_page_needs_no_other_host(http):
    api = (await http.get("/openapi.json")).json()
    body = api["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].endswith("/PredictRequest")
    assert "PredictRequest" in api["components"]["schemas"]
    page = (await http.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    assert "connect-src 'self'" in (await http.get("/docs")).headers["content-security-policy"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not valid JSON"),
        (b'{"inputs": "a"} x', 400, "not valid JSON"),
        (b'{"inputs": "\xff"}', 400, "UTF-8"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "deep"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", 400, ""),
        (b"[]", 422, "object"),
        (b"{}", 422, "inputs is missing"),
        (b'{"inputs": 1}', 422, "inputs must be"),
        (b'{"inputs": null}', 422, "the key inputs is missing"),
        (b'{"inputs": []}', 422, "inputs"),
        (b'{"inputs": ""}', 422, "inputs"),
        (b'{"inputs": ["a", " "]}', 422, "empty"),
        (b'{"inputs": [["a"]]}', 422, "inputs"),
        (b'{"inputs": "\\ud800"}', 422, "surrogate"),
        (b'{"inputs": "a", "parameters": {"top_k": NaN}}', 422, "NaN"),
        (b'{"inputs": "a", "parameters": {"top_k": -Infinity}}', 422, "Infinity"),
        (b'{"inputs": "a", "parameters": {"top_k": 1e999}}', 422, "Infinity"),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', 422, "top_k"),
        (b'{"inputs": "a", "parameters": {"function_to_apply": "relu"}}', 422, "function_to_apply"),
        (b'{"inputs": "a", "inputs": "b"}', 422, "twice"),
        (b'{"inputs": "a", "model": "x"}', 422, "unknown key"),
        (b'{"inputs": "a", "parameters": {"topk": 1}}', 422, "unknown key in parameters"),
    ],
)
async def test_bad_bodies_are_named(http, body, status, says):
    assert_error(await post(http, body), status, says=says)


async def test_errors_do_not_repeat_the_input(http):
    for body in (
        b'{"inputs": "a", "hunter2": 1}',
        b'{"inputs": {"hunter2": 1}}',
        b'{"inputs": "a", "parameters": {"function_to_apply": "hunter2"}}',
        b'{"inputs": "a", "parameters": "hunter2"}',
    ):
        assert "hunter2" not in (await post(http, body)).text


async def test_a_batch_over_the_limit_names_it(http):
    response = await http.post("/", json={"inputs": ["a"] * 10_000})
    assert "128" in assert_error(response, 413).error
    assert (await http.post("/", json={"inputs": ["a"] * MAX_BATCH})).status_code == 200


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length(http):
    big = b'{"inputs": "' + b"a" * MAX_BODY_BYTES + b'"}'
    assert_error(await post(http, big), 413, says=str(MAX_BODY_BYTES))
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(1000):
            sent += 65536
            yield b"a" * 65536

    assert_error(await http.post("/", content=chunks(), headers=JSON), 413, says=str(MAX_BODY_BYTES))


async def test_other_content_types_and_encodings_are_refused(http):
    assert_error(await http.post("/", content=b"{}", headers={"content-type": "text/plain"}), 415)
    assert_error(await http.post("/", content=b"{}"), 415)
    assert_error(await post(http, b"{}", **{"content-type": "application/json; charset=latin-1"}), 415)
    assert_error(await post(http, b"\x1f\x8b", **{"content-encoding": "gzip"}), 415)
    ok = await post(http, b'{"inputs": "a"}', **{"content-type": "application/json; charset=UTF-8"})
    assert ok.status_code == 200


async def test_wrong_paths_and_methods_are_json(http):
    assert_error(await http.get("/nowhere"), 404)
    assert_error(await http.get("/info/"), 404)
    assert_error(await http.get("/../../etc/passwd"), 404)
    response = await http.get("/invocations")
    assert_error(response, 405)
    assert response.headers["allow"] == "OPTIONS, POST"
    assert_error(await http.delete("/info"), 405)


async def test_keys_guard_everything_but_health_and_the_pages(service):
    keys = ApiKeys(hash_keys("first, second"))
    async with client_of(service, keys) as http:
        for path in sorted(OPEN_PATHS - {"/ui"}):
            assert (await http.get(path)).status_code == 200
        for path in ("/info", "/metrics", "/v2", "/v2/models/classifier", "/openapi.json", "/nowhere"):
            assert_error(await http.get(path), 401)
        assert_error(await http.post("/", json={"inputs": "a"}), 401)
        for wrong in ("Bearer third", "Basic first", "first", "Bearer ", "Bearer first,second"):
            assert_error(await http.get("/info", headers={"authorization": wrong}), 401)
        assert (await http.get("/info", headers={"authorization": "Bearer second"})).status_code == 200


# ---------------------------------------------------------------- states of the service


async def test_before_a_model_is_open_the_endpoint_lives_and_is_not_ready():
    async with client_of(Service(lambda _: None)) as http:
        assert (await http.get("/health")).status_code == 200
        for response in (await http.get("/ready"), await http.get("/info"), await http.post("/", json={"inputs": "a"})):
            assert_error(response, 503)
            assert response.headers["retry-after"]


async def test_a_full_queue_is_503_with_retry_after_and_the_rest_succeeds():
    service = await make_service(pause_s=0.05)
    async with client_of(service) as http:
        pending = [http.post("/", json={"inputs": ["a"] * MAX_BATCH}) for _ in range(40)]
        responses = await asyncio.gather(*pending)
        await service.current.retire()
    busy = [response for response in responses if response.status_code == 503]
    assert busy
    assert {response.status_code for response in responses} == {200, 503}
    assert_error(busy[0], 503, says="full")
    assert busy[0].headers["retry-after"]


async def test_an_error_in_the_model_is_a_500_without_its_text(caplog):
    service = await make_service()

    def fail(_):
        raise RuntimeError("hunter2")

    service.current._batcher._runner.run = fail
    async with client_of(service) as http:
        body = assert_error(await http.post("/", json={"inputs": "a"}), 500)
    await service.current.retire()
    assert "hunter2" not in body.error
    assert "hunter2" in caplog.text


def test_limits_of_the_info_are_the_limits_of_the_app():
    assert LIMITS == {"max_batch": MAX_BATCH, "max_body_bytes": MAX_BODY_BYTES}
