"""Every protocol of the endpoint, called by the clients that people use."""

import json
import subprocess
import sys

import httpx
import numpy as np
import pytest

from lft_ray.client import Client
from lft_ray.serve.protocols.base import MAX_BATCH
from tests.serve.conftest import LABELS, client_of, make_service
from tests.serve.running import running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_no_leftover_clients")]

TEXTS = ["bbb", "s", "bbbb s"]
WINNERS = ["business", "science", "business"]
LONG = "b " * 40  # the test model reads 32 words


@pytest.fixture(scope="module")
def live():
    with running() as found:
        yield found


def probabilities(url: str, text: str) -> dict[str, float]:
    [scores] = httpx.post(url, json={"inputs": text}).json()
    return {score["label"]: score["score"] for score in scores}


# ---------------------------------------------------------------- Hugging Face, SageMaker, our own, curl


def test_hugging_faces_client(live, monkeypatch):
    from huggingface_hub import InferenceClient

    # The tests run with the hub switched off, and its client then refuses every address, this machine's too.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = InferenceClient(model=live.url).text_classification("bbb", top_k=2)
    assert [element.label for element in found] == ["business", "science"]
    assert found[0].score == pytest.approx(probabilities(live.url, "bbb")["business"])


def test_our_own_client(live):
    with Client(live.url) as client:
        assert [scores[0].label for scores in client.predict(TEXTS * 100)] == WINNERS * 100


def test_curl(live):
    command = ["curl", "-s", "-i", live.url, "-H", "content-type: application/json", "-d", '{"inputs": "bbb"}']
    head, _, body = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert "x-model-version: abc123abc123" in head
    assert json.loads(body)[0][0]["label"] == "business"


async def test_sagemaker_has_its_own_paths(http):
    assert (await http.get("/ping")).status_code == 200
    same = [(await http.post(path, json={"inputs": TEXTS})).json() for path in ("/invocations", "/")]
    assert same[0] == same[1]


# ---------------------------------------------------------------- text-embeddings-inference


async def test_predict_returns_one_text_flat_and_a_batch_nested(http):
    nested = (await http.post("/", json={"inputs": ["bbb", "s"]})).json()
    assert (await http.post("/predict", json={"inputs": "bbb"})).json() == nested[0]
    assert (await http.post("/predict", json={"inputs": ["bbb"]})).json() == nested[0]
    assert (await http.post("/predict", json={"inputs": [["bbb"], ["s"]]})).json() == nested
    raw = (await http.post("/predict", json={"inputs": "bbb", "raw_scores": True})).json()
    assert {score["label"]: score["score"] for score in raw}["business"] == 3.0


@pytest.mark.parametrize(
    ("body", "status", "kind", "says"),
    [
        ({"inputs": ["a", "b"]}, 422, "validation", "pair"),
        ({"inputs": [["a", "b"], ["c"]]}, 422, "validation", "pair"),
        ({"inputs": []}, 422, "validation", "one text"),
        ({"inputs": ""}, 422, "validation", "empty"),
        ({"inputs": [["a"], "b"]}, 422, "validation", "inputs"),
        ({"inputs": "a", "truncate": "yes"}, 422, "validation", "truncate"),
        ({"inputs": "a", "truncation_direction": "Left"}, 422, "validation", "truncation_direction"),
        ({"inputs": [["a"]] * (MAX_BATCH + 1)}, 413, "validation", str(MAX_BATCH)),
        ({"inputs": LONG, "truncate": False}, 413, "validation", "32 tokens"),
    ],
)
async def test_predict_errors_have_the_types_of_the_protocol(http, body, status, kind, says):
    response = await http.post("/predict", json=body)
    assert (response.status_code, response.json()["error_type"]) == (status, kind)
    assert says in response.json()["error"]
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_predict_says_429_when_busy_and_424_when_the_model_fails():
    import asyncio

    service = await make_service(pause_s=0.05)
    async with client_of(service) as http:
        asked = [http.post("/predict", json={"inputs": [["a"]] * MAX_BATCH}) for _ in range(40)]
        answers = await asyncio.gather(*asked)
        busy = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert busy[0].json()["error_type"] == "overloaded"
        assert busy[0].headers["retry-after"]

        def fail(_):
            raise RuntimeError("hunter2")

        service.current._batcher._runner.run = fail
        failed = await http.post("/predict", json={"inputs": "a"})
        assert (failed.status_code, failed.json()["error_type"]) == (424, "backend")
        assert "hunter2" not in failed.text
    await service.current.retire()


# ---------------------------------------------------------------- vLLM


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
async def test_classify(http, path):
    response = await http.post(path, json={"model": "classifier", "input": TEXTS})
    answer = response.json()
    assert (answer["object"], answer["model"]) == ("list", "minilm:1")
    assert answer["id"] == f"classify-{response.headers['x-request-id']}"
    assert [one["index"] for one in answer["data"]] == [0, 1, 2]
    assert [one["label"] for one in answer["data"]] == WINNERS
    for one in answer["data"]:
        assert one["num_classes"] == len(LABELS)
        assert LABELS[int(np.argmax(one["probs"]))] == one["label"]
        assert sum(one["probs"]) == pytest.approx(1.0, abs=1e-6)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 4  # words
    logits = (await http.post(path, json={"input": "bbb", "activation": False})).json()
    assert logits["data"][0]["probs"] == [3.0, 0.0, 0.0]


async def test_classify_refuses(http):
    assert (await http.post("/v1/classify", json={"model": "gpt", "input": "a"})).status_code == 404
    assert (await http.post("/v1/classify", json={"model": "minilm:1", "input": "a"})).status_code == 200
    for body in ({}, {"input": []}, {"input": [1]}, {"input": "a", "activation": "no"}, {"input": "a", "x": 1}):
        response = await http.post("/v1/classify", json=body)
        assert response.status_code == 422
        assert set(response.json()) == {"error", "error_type", "request_id"}


# ---------------------------------------------------------------- Open Inference Protocol


@pytest.mark.parametrize("as_binary", [True, False])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_tritons_http_client(live, as_binary, shape):
    from tritonclient import http as triton

    with triton.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("classifier")
        assert client.is_model_ready("minilm:1", "abc123abc123")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        metadata = client.get_model_metadata("classifier")
        text = triton.InferInput("text", list(shape), metadata["inputs"][0]["datatype"])
        text.set_data_from_numpy(np.array(TEXTS, dtype=object).reshape(shape), binary_data=as_binary)
        outputs = [triton.InferRequestedOutput(one["name"], binary_data=as_binary) for one in metadata["outputs"]]
        for requested in (outputs, None):  # without outputs the client asks for all of them, in binary
            result = client.infer("classifier", [text], outputs=requested, request_id="7")
            labels = [one.decode() if isinstance(one, bytes) else one for one in result.as_numpy("label")]
            assert labels == WINNERS
            matrix = result.as_numpy("probabilities")
            assert (matrix.dtype, matrix.shape) == (np.float32, (3, len(LABELS)))
            assert matrix.max(axis=1) == pytest.approx(result.as_numpy("score"))
            assert matrix[0][0] == pytest.approx(probabilities(live.url, TEXTS[0])["business"], abs=1e-6)
            assert (result.get_response()["id"], result.get_response()["model_version"]) == ("7", "abc123abc123")


def test_tritons_http_client_reads_our_errors(live):
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException

    text = triton.InferInput("txt", [1], "BYTES")
    text.set_data_from_numpy(np.array(["a"], dtype=object))
    with triton.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        with pytest.raises(InferenceServerException, match="one tensor: text"):
            client.infer("classifier", [text])
        with pytest.raises(InferenceServerException, match="no such model"):
            client.infer("other", [text])


INFER = "/v2/models/classifier/infer"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"inputs": []}, 422),
        ({"datatype": "FP32"}, 422),
        ({"shape": [2]}, 422),
        ({"shape": [1, 1, 1]}, 422),
        ({"data": None}, 422),
        ({"data": [1]}, 422),
        ({"data": [["a", "b"]]}, 422),
        ({"data": [""]}, 422),
        ({"parameters": {"binary_data_size": 5}}, 422),
        ({"parameters": {"shared_memory_region": "x"}}, 422),
        ({"outputs": [{"name": "logits"}]}, 422),
        ({"outputs": [{"name": "label", "parameters": {"classification": 2}}]}, 422),
        ({"unknown": 1}, 422),
        ({"data": ["a"] * (MAX_BATCH + 1), "shape": [MAX_BATCH + 1]}, 413),
    ],
)
async def test_infer_refuses(http, change, status):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    tensor |= {key: value for key, value in change.items() if key in ("datatype", "shape", "data", "parameters")}
    body = {"inputs": [tensor]} | {key: value for key, value in change.items() if key not in tensor}
    response = await http.post(INFER, json=body)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "error_type", "request_id"}


async def test_infer_refuses_broken_binary(http):
    head = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": %d}}]}'

    async def ask(data: bytes, length: str | None = None, size: int | None = None) -> int:
        json_part = head % (len(data) if size is None else size)
        headers = {"inference-header-content-length": str(len(json_part)) if length is None else length}
        return (await http.post(INFER, content=json_part + data, headers=headers)).status_code

    assert await ask(b"\x01\x00\x00\x00a") == 200
    assert await ask(b"\x09\x00\x00\x00a") == 422
    assert await ask(b"\x01\x00") == 422
    assert await ask(b"\x01\x00\x00\x00\xff") == 400
    assert await ask(b"\x01\x00\x00\x00a", size=4) == 422
    for length in ("x", "-1", "99999999999999999999", "5000", b"\xb2"):
        assert await ask(b"\x01\x00\x00\x00a", length=length) == 400
    assert await ask(b"\x01\x00\x00\x00a", length="5") == 400


async def test_versions_have_paths_of_their_own(http):
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["bbb"]}]}
    for version, status in (("abc123abc123", 200), ("000000000000", 404)):
        base = f"/v2/models/classifier/versions/{version}"
        assert (await http.get(base)).status_code == status
        assert (await http.get(f"{base}/ready")).status_code == status
        assert (await http.post(f"{base}/infer", json=body)).status_code == status


# ---------------------------------------------------------------- what all protocols share


async def test_truncated_texts_are_listed_in_a_header(http):
    response = await http.post("/", json={"inputs": ["b", LONG, "b " * 32]})
    assert response.headers["x-truncated"] == "1"
    assert "x-truncated" not in (await http.post("/", json={"inputs": "b"})).headers
    assert (await http.post("/predict", json={"inputs": LONG})).headers["x-truncated"] == "0"


async def test_metrics_count_by_protocol_and_status(http):
    await http.post("/", json={"inputs": TEXTS})
    await http.post("/", json={})
    await http.post("/predict", json={"inputs": LONG})
    await http.get("/nowhere")
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    for line in (
        'lft_requests_total{protocol="hf",status="200"} 1.0',
        'lft_requests_total{protocol="hf",status="422"} 1.0',
        'lft_requests_total{protocol="tei",status="200"} 1.0',
        'lft_requests_total{protocol="none",status="404"} 1.0',
        'lft_texts_total{protocol="hf"} 3.0',
        "lft_truncated_texts_total 1.0",
        "lft_queued_texts 0.0",
        'lft_model_info{model="minilm:1",version="abc123abc123"} 1.0',
        'lft_request_seconds_count{protocol="hf",status="422"} 1.0',
    ):
        assert line in lines


async def test_every_route_is_in_openapi_and_every_response_has_its_headers(http):
    api = (await http.get("/openapi.json")).json()
    assert {"/", "/invocations", "/predict", "/v1/classify", "/classify", "/v2", "/metrics", "/ping", "/health"} <= set(
        api["paths"]
    )
    for path, methods in api["paths"].items():
        path = path.replace("{model}", "classifier").replace("{version}", "abc123abc123")
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            response = await http.request(method, path, json=content.get("example") if content else None)
            assert response.status_code == 200, (path, response.text)
            assert response.headers["x-model-version"] == "abc123abc123"
            assert response.headers["x-request-id"]
    assert (await http.head("/health")).text == ""


def test_opening_the_app_loads_neither_fastapi_nor_torch():
    code = "import sys, lft_ray.serve.api.app; print(' '.join(sys.modules))"
    modules = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {"fastapi", "torch", "ray", "transformers"} & modules
