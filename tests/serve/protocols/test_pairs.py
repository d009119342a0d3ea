"""A model on pairs of texts in every protocol, called by the clients that people use; and all that is refused."""

import asyncio
import json
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from lft_ray.client import AsyncClient, Client
from lft_ray.engines.batching import run_sorted
from lft_ray.errors import InputError
from lft_ray.export.bundle import ExportPlan, export_bundle, open_bundle
from lft_ray.export.card import CardFacts
from lft_ray.report.status import words_to_try
from lft_ray.run.bundle_site import BundleSite
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor
from lft_ray.serve.protocols import messages
from lft_ray.serve.protocols.base import MAX_BATCH
from lft_ray.serve.protocols.tensors import pack_texts
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState
from tests.engines.networks import trained
from tests.serve.conftest import PAIR_LABELS, client_of, export_tfidf_pairs, make_pair_service, make_service
from tests.serve.protocols.tensors import tensor
from tests.serve.running import running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_no_leftover_clients")]

PAIRS = [("one two three", "one"), ("one", "one two three four"), ("é", "日本 語")]
WINNERS = ["first", "second", "second"]
OBJECTS = [{"text": first, "text_pair": second} for first, second in PAIRS]
INFER = "/v2/models/classifier/infer"


def tensors() -> list[dict]:
    return [tensor("text_a", [one for one, _ in PAIRS]), tensor("text_b", [two for _, two in PAIRS])]


@pytest.fixture(scope="module")
def live():
    with running(make=make_pair_service) as found:
        yield found


@pytest.fixture
async def pairs_http():
    service = await make_pair_service()
    async with client_of(service) as client:
        yield client
    await service.current.retire()


def labels_of(rows: list) -> list[str]:
    return [scores[0]["label"] for scores in rows]


# ---------------------------------------------------------------- Hugging Face, text-embeddings-inference, our own


async def test_one_pair_and_a_list_of_pairs(pairs_http):
    for path in ("/", "/invocations"):
        answer = await pairs_http.post(path, json={"inputs": OBJECTS})
        assert (answer.status_code, labels_of(answer.json())) == (200, WINNERS)
        alone = await pairs_http.post(path, json={"inputs": OBJECTS[0]})
        assert alone.json() == answer.json()[:1]
    best = (await pairs_http.post("/", json={"inputs": OBJECTS, "parameters": {"top_k": 1}})).json()
    assert [len(scores) for scores in best] == [1, 1, 1]


async def test_text_embeddings_inference_takes_two_texts_in_a_list(pairs_http):
    nested = (await pairs_http.post("/", json={"inputs": OBJECTS})).json()
    assert (await pairs_http.post("/predict", json={"inputs": list(PAIRS[0])})).json() == nested[0]
    assert (await pairs_http.post("/predict", json={"inputs": [list(pair) for pair in PAIRS]})).json() == nested


def test_hugging_faces_client_posts_pairs(live, monkeypatch):
    from huggingface_hub import InferenceClient
    from huggingface_hub.inference._common import RequestParameters

    # The tests run with the hub switched off, and its client then refuses every address, this machine's too.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    client = InferenceClient(model=live.url)

    def post(inputs):
        headers = {"content-type": "application/json"}
        body = {"inputs": inputs, "parameters": {}}
        return client._inner_post(RequestParameters(live.url, "text-classification", None, body, None, headers))

    assert labels_of(json.loads(post(OBJECTS[0]))) == WINNERS[:1]
    assert labels_of(json.loads(post(OBJECTS))) == WINNERS


def test_our_own_client_sends_tuples(live):
    with Client(live.url) as client:
        assert client.info().segments == 2
        scores = client.predict(PAIRS * 100)
    assert [row[0].label for row in scores] == WINNERS * 100

    async def ask():
        async with AsyncClient(live.url) as client:
            return await client.predict([list(pair) for pair in PAIRS] * 100)

    assert asyncio.run(ask()) == scores


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a single text"], "text 0 is a single text, and this model reads pairs"),
        ([PAIRS[0], ("a", "b", "c")], "text 1 has 3 texts"),
        ([("a", 5)], "text 0 holds a int"),
        ([("a", " ")], "text 0 has a blank side"),
        ([None], "text 0 is a NoneType"),
        ([("a", "\ud800")], "unpaired surrogate"),
    ],
)
def test_our_own_client_names_what_is_no_pair(live, given, says):
    with Client(live.url) as client, pytest.raises(InputError, match=says):
        client.predict(given)


def test_our_own_client_sends_no_pair_to_a_model_on_single_texts():
    with running() as single, Client(single.url) as client, pytest.raises(InputError, match="reads single texts"):
        client.predict([("a", "b")])


# ---------------------------------------------------------------- Open Inference Protocol


@pytest.mark.parametrize("as_binary", [True, False])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_tritons_http_client(live, as_binary, shape):
    from tritonclient import http as triton

    with triton.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        metadata = client.get_model_metadata("classifier")
        assert [one["name"] for one in metadata["inputs"]] == ["text_a", "text_b"]
        inputs = [triton.InferInput(one["name"], list(shape), one["datatype"]) for one in metadata["inputs"]]
        for column, one in enumerate(inputs):
            texts = np.array([pair[column] for pair in PAIRS], dtype=object).reshape(shape)
            one.set_data_from_numpy(texts, binary_data=as_binary)
        for ordered in (inputs, inputs[::-1]):  # the name says which is which, not the place
            result = client.infer("classifier", ordered)
            assert [one.decode() for one in result.as_numpy("label")] == WINNERS
        mixed = triton.InferInput("text_a", [3], "BYTES")
        mixed.set_data_from_numpy(np.array([one for one, _ in PAIRS], dtype=object), binary_data=not as_binary)
        result = client.infer("classifier", [mixed, inputs[1]])
        assert [one.decode() for one in result.as_numpy("label")] == WINNERS


def test_tritons_grpc_client(live):
    from tritonclient import grpc as triton
    from tritonclient.utils import InferenceServerException

    with triton.InferenceServerClient(f"127.0.0.1:{live.grpc_port}") as client:
        metadata = client.get_model_metadata("classifier")
        assert [one.name for one in metadata.inputs] == ["text_a", "text_b"]
        inputs = [triton.InferInput(one.name, [3], one.datatype) for one in metadata.inputs]
        for column, one in enumerate(inputs):
            one.set_data_from_numpy(np.array([pair[column] for pair in PAIRS], dtype=object))
        for ordered in (inputs, inputs[::-1]):
            result = client.infer("classifier", ordered)
            assert [one.decode() for one in result.as_numpy("label")] == WINNERS
            assert result.as_numpy("probabilities").shape == (3, len(PAIR_LABELS))
        with pytest.raises(InferenceServerException, match="two tensors: text_a and text_b"):
            client.infer("classifier", inputs[:1])
        short = triton.InferInput("text_b", [1], "BYTES")
        short.set_data_from_numpy(np.array(["a"], dtype=object))
        with pytest.raises(InferenceServerException, match="text_a has 3 and text_b has 1 texts"):
            client.infer("classifier", [inputs[0], short])


def grpc_request(model: str = "classifier") -> object:
    request = messages.message("ModelInferRequest")(model_name=model)
    for name, column in zip(("text_a", "text_b"), zip(*PAIRS, strict=True), strict=True):
        one = request.inputs.add(name=name, datatype="BYTES", shape=[3])
        one.contents.bytes_contents.extend(text.encode() for text in column)
    return request


def test_a_plain_stub_sends_contents_of_both_tensors_once(live):
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer",
            request_serializer=messages.message("ModelInferRequest").SerializeToString,
            response_deserializer=messages.message("ModelInferResponse").FromString,
        )
        assert call(grpc_request(), timeout=20).raw_output_contents[0] == pack_texts(WINNERS)
        raw = grpc_request()
        for one in raw.inputs:
            one.ClearField("contents")
        raw.raw_input_contents.append(pack_texts([one for one, _ in PAIRS]))
        with pytest.raises(grpc.RpcError) as missing:
            call(raw, timeout=20)
        assert "one for each tensor" in missing.value.details()
        raw.raw_input_contents.append(pack_texts([two for _, two in PAIRS]))
        assert call(raw, timeout=20).raw_output_contents[0] == pack_texts(WINNERS)
        for shapes in ([2, 3], [3, 2]):
            wrong = grpc_request()
            for one, shape in zip(wrong.inputs, shapes, strict=True):
                one.shape[:] = [shape]
            with pytest.raises(grpc.RpcError) as refused:
                call(wrong, timeout=20)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "the shape of text_" in refused.value.details()


# ---------------------------------------------------------------- refusals, by name


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/", {"inputs": "a"}, "reads pairs of texts: each must be an object with the keys text and text_pair"),
        ("/", {"inputs": ["a", "b"]}, "reads pairs of texts"),
        ("/", {"inputs": ["a", OBJECTS[0]]}, "must be an object with the keys text and text_pair"),
        ("/", {"inputs": [["a", "b"]]}, "must be an object with the keys text and text_pair"),
        ("/", {"inputs": {"text": "a"}}, "the key inputs.text_pair is missing"),
        ("/", {"inputs": {"text": "a", "text_pair": " "}}, "a text is empty"),
        ("/", {"inputs": {"text": "a", "text_pair": "b", "hunter2": "c"}}, "in inputs; known are text, text_pair"),
        ("/", {"inputs": []}, "contains no text"),
        ("/invocations", {"inputs": "a"}, "reads pairs of texts"),
        ("/predict", {"inputs": "a"}, "must be a list with the two texts of a pair"),
        ("/predict", {"inputs": ["a"]}, "each list must contain the two texts"),
        ("/predict", {"inputs": ["a", "b", "c"]}, "each list must contain the two texts"),
        ("/predict", {"inputs": [["a", "b"], ["c"]]}, "each list must contain the two texts"),
        ("/predict", {"inputs": [["a", "b"], "c"]}, "must be a list with the two texts of a pair"),
        ("/predict", {"inputs": []}, "each list must contain the two texts"),
        ("/predict", {"inputs": ["a", ""]}, "a text is empty"),
        ("/v1/classify", {"input": "a"}, "this protocol has no form"),
        ("/classify", {"input": ["a", "b"]}, "POST /predict lists of two texts"),
        (INFER, {"inputs": [tensor("text", ["a"])]}, "two tensors: text_a and text_b"),
        (INFER, {"inputs": tensors()[:1]}, "two tensors: text_a and text_b"),
        (INFER, {"inputs": [tensors()[0]] * 2}, "two tensors: text_a and text_b"),
        (INFER, {"inputs": [tensors()[0], tensor("text_b", ["a"])]}, "text_a has 3 and text_b has 1"),
        (INFER, {"inputs": [tensors()[0], tensors()[1] | {"shape": [1, 3]}]}, "the shape of text_b"),
        (INFER, {"inputs": [tensors()[0], tensors()[1] | {"datatype": "FP32"}]}, "of datatype BYTES"),
        (INFER, {"inputs": [tensors()[0], {k: tensors()[1][k] for k in ("name", "shape", "datatype")}]}, "missing"),
        (INFER, {"inputs": [tensors()[0], tensor("text_b", ["a", "", "b"])]}, "text_b: a text is empty"),
    ],
)
async def test_what_is_no_pair_is_refused_by_what_the_model_reads(pairs_http, path, body, says):
    answer = await pairs_http.post(path, json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (422, True), answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/", {"inputs": OBJECTS[0]}, "reads single texts"),
        ("/", {"inputs": OBJECTS}, "reads single texts"),
        ("/predict", {"inputs": list(PAIRS[0])}, "two texts in one list are a pair, and this model reads single texts"),
        (INFER, {"inputs": tensors()}, "this model reads single texts"),
    ],
)
async def test_a_model_on_single_texts_refuses_pairs(http, path, body, says):
    answer = await http.post(path, json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (422, True), answer.text


async def test_as_many_pairs_as_texts_fit_a_request(pairs_http):
    assert (await pairs_http.post("/", json={"inputs": OBJECTS[:1] * MAX_BATCH})).status_code == 200
    assert (await pairs_http.post("/", json={"inputs": OBJECTS[:1] * (MAX_BATCH + 1)})).status_code == 413


def test_sizes_of_two_binary_tensors_must_cover_the_bytes(live):
    columns = [pack_texts(column) for column in zip(*PAIRS, strict=True)]
    for sizes, more, status in (([0, 0], b"", 200), ([1, 0], b"", 422), ([0, 0], b"x", 422), ([0, 1], b"", 422)):
        inputs = [
            {"name": name, "shape": [3], "datatype": "BYTES", "parameters": {"binary_data_size": len(column) + extra}}
            for name, column, extra in zip(("text_a", "text_b"), columns, sizes, strict=True)
        ]
        head = json.dumps({"inputs": inputs}).encode()
        headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
        answer = httpx.post(f"{live.url}{INFER}", content=head + b"".join(columns) + more, headers=headers)
        assert answer.status_code == status, answer.text


# ---------------------------------------------------------------- the document


async def test_the_openapi_document_describes_pairs(pairs_http):
    api = (await pairs_http.get("/openapi.json")).json()
    assert not [path for path in api["paths"] if "classify" in path], "a protocol without pairs is not offered"
    for path, name in (
        ("/", "PredictPairsRequest"),
        ("/invocations", "PredictPairsRequest"),
        ("/predict", "TeiPairsRequest"),
        ("/v2/models/{model}/infer", "InferPairsRequest"),
    ):
        content = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"]["$ref"].endswith(f"/{name}")
        answer = await pairs_http.post(path.replace("{model}", "classifier"), json=content["example"])
        assert answer.status_code == 200, answer.text
    schemas = api["components"]["schemas"]
    assert schemas["TextPair"]["required"] == ["text", "text_pair"]
    assert schemas["PairInputTensor"]["properties"]["name"]["enum"] == ["text_a", "text_b"]
    assert not {"PredictRequest", "TeiRequest", "InferRequest"} & set(schemas)


async def test_the_document_of_a_model_on_single_texts_has_no_pairs(http):
    text = (await http.get("/openapi.json")).text
    assert "text_pair" not in text
    assert "text_a" not in text
    assert "/v1/classify" in text


@pytest.mark.parametrize("path", ["/", "/predict"])
def test_what_the_document_of_a_pairs_model_allows_is_accepted(live, path):
    import schemathesis
    from hypothesis import HealthCheck, assume, given, settings
    from schemathesis import GenerationMode

    operation = schemathesis.openapi.from_url(f"{live.url}/openapi.json")[path]["POST"]
    fixed = settings(
        deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck), max_examples=15
    )

    @fixed
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case):
        # For JSON Schema 1.0 is an integer; here it is a number with a fraction, and refused.
        assume(".0" not in json.dumps(case.body))
        answer = case.call()
        assert answer.status_code in (200, 413), (case.body, answer.text)

    ask()


async def test_a_pair_that_counts_as_one_text(pairs_http):
    answer = await pairs_http.post("/v2/models/classifier/infer", json={"inputs": tensors()})
    assert [one["shape"] for one in answer.json()["outputs"]] == [[3], [3], [3, 2]]
    single = await make_service()
    assert single.info.segments == 1
    await single.current.retire()


# ---------------------------------------------------------------- real bundles


@pytest.fixture(scope="module", params=["sklearn", "onnxruntime"])
def real_bundle(request, tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("bundle")
    if request.param == "sklearn":
        return export_tfidf_pairs(folder).uri
    trained(folder / "trained", tiny_bert, segments=2, spread=10.0)
    facts = CardFacts(name="test")
    labels = ["contradicts", "follows", "neither"]
    plan = ExportPlan(precision="fp32", task_kind="pairs", labels=labels, samples=PAIRS, card=facts)
    bundle = export_bundle(folder / "trained", plan, Storage(folder), "bundle")
    assert bundle.engine == "onnxruntime"
    return bundle.uri


def test_stock_clients_get_the_answers_of_the_engine(real_bundle):
    from tritonclient import grpc as triton_grpc
    from tritonclient import http as triton

    opened = open_bundle(Path(real_bundle))
    expected = opened.task().probabilities(run_sorted(opened.open_runner(), PAIRS))
    labels = opened.bundle.labels

    async def make() -> Service:
        service = Service(lambda uri: open_predictor(uri, ReplicaThreads(1), limits=LIMITS))
        status = await service.reconfigure(DesiredState(current=real_bundle))
        assert status.state == "ready", status.reason
        return service

    def matrix(rows) -> np.ndarray:
        return np.array([[{one["label"]: one["score"] for one in row}[label] for label in labels] for row in rows])

    with running(make=make) as live:
        with Client(live.url) as client:
            ours = matrix([[one.model_dump() for one in row] for row in client.predict(PAIRS)])
        hf = matrix(httpx.post(live.url, json={"inputs": OBJECTS}).json())
        tei = matrix(httpx.post(f"{live.url}/predict", json={"inputs": [list(pair) for pair in PAIRS]}).json())
        found = [ours, hf, tei]
        for kind, port in ((triton, live.port), (triton_grpc, live.grpc_port)):
            with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
                inputs = [kind.InferInput(name, [3], "BYTES") for name in ("text_a", "text_b")]
                for column, one in enumerate(inputs):
                    one.set_data_from_numpy(np.array([pair[column] for pair in PAIRS], dtype=object))
                found.append(client.infer("classifier", inputs).as_numpy("probabilities"))
    for scores in found:
        np.testing.assert_allclose(scores, expected, atol=2e-6)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the pairs have different answers"


def test_a_bundle_says_how_it_is_asked_for_a_pair(real_bundle):
    card = (Path(real_bundle) / "MODEL_CARD.md").read_text()
    assert '{"inputs": {"text": "a first text", "text_pair": "a second text"}}' in card
    assert words_to_try(BundleSite(real_bundle)) == "'first text' 'second text'"
