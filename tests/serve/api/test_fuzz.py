"""Nothing a client can send is a 5xx: what ``/openapi.json`` describes, and bytes, JSON and near-requests at random.

Seeds are fixed, so that a run that passes passes again.
"""

import json

import grpc
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from schemathesis.specs.openapi.checks import status_code_conformance as known_statuses

from lft_ray.serve.protocols import messages
from lft_ray.wire import ErrorBody
from tests.serve.running import running

FIXED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
JSON = {"content-type": "application/json"}
PATHS = ["/", "/invocations", "/predict", "/v1/classify", "/classify", "/v2/models/classifier/infer"]


@pytest.fixture(scope="module")
def live():
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def http(live):
    with httpx.Client(base_url=live.url, verify=False) as client:
        yield client


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_what_the_openapi_document_describes(live, mode):
    checks = [not_a_server_error, known_statuses, content_type_conformance, response_schema_conformance]
    asked = 0
    for found in schemathesis.openapi.from_url(f"{live.url}/openapi.json").get_all_operations():
        operation = found.ok()
        has_input = operation.body or operation.path_parameters
        if not operation.body and mode is GenerationMode.NEGATIVE:
            continue  # any text may stand in a path

        @settings(FIXED, max_examples=20 if has_input else 1)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks)

        ask()
    assert asked > 100


@pytest.mark.parametrize("path", ["/", "/invocations", "/predict"])
def test_what_the_openapi_document_allows_is_accepted(live, path):
    operation = schemathesis.openapi.from_url(f"{live.url}/openapi.json")[path]["POST"]

    @settings(FIXED, max_examples=15)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case):
        # For JSON Schema 1.0 is an integer; here it is a number with a fraction, and refused.
        assume(".0" not in json.dumps(case.body))
        answer = case.call()
        # Only the length of a text, in tokens, is nothing that a schema can say.
        assert answer.status_code in (200, 413), (case.body, answer.text)

    ask()


# ---------------------------------------------------------------- bodies at random

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
texts = st.text() | st.lists(st.text(), max_size=5) | st.lists(st.lists(st.text(), max_size=3), max_size=3) | values
tensors = st.fixed_dictionaries(
    {
        "name": st.just("text") | values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | values,
        "datatype": st.just("BYTES") | values,
    },
    optional={
        "data": texts,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_region"]), values) | values,
    },
)
near_requests = st.fixed_dictionaries(
    {},
    optional={
        "inputs": texts | st.lists(tensors, max_size=2),
        "input": texts,
        "parameters": st.fixed_dictionaries(
            {}, optional={"top_k": st.integers() | values, "function_to_apply": st.text() | values}
        )
        | values,
        "raw_scores": values,
        "truncate": values,
        "activation": values,
        "model": st.just("classifier") | values,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.just("label") | values}), max_size=2) | values,
        "id": st.text() | values,
    },
)
bodies = (
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | values.map(lambda value: json.dumps(value).encode())
    | near_requests.map(lambda value: json.dumps(value).encode())
)
headers = st.sampled_from(
    [JSON, {}, {"content-type": "application/json;charset=utf-8"}, JSON | {"inference-header-content-length": "40"}]
)


@settings(FIXED, max_examples=800)
@given(path=st.sampled_from(PATHS), body=bodies, sent=headers)
def test_bodies_at_random(http, path, body, sent):
    response = http.post(path, content=body, headers=sent)
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        error = ErrorBody.model_validate_json(response.content)
        assert error.request_id == response.headers["x-request-id"]


@settings(FIXED, max_examples=200)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=40),
)
def test_paths_at_random(http, method, path):
    url = http.base_url.copy_with(raw_path=b"/" + path.encode("unicode_escape").replace(b" ", b"%20"))
    assert http.request(method, url).status_code < 500


@settings(FIXED, max_examples=150)
@given(
    name=st.sampled_from(messages.METHODS),
    data=st.binary(max_size=200)
    | st.builds(
        lambda name, texts, raw, shape: near_message(name, texts, raw, shape),
        st.just("classifier") | st.text(max_size=8).filter(lambda text: text.isascii()),
        st.lists(st.binary(max_size=20), max_size=3),
        st.lists(st.binary(max_size=20), max_size=2),
        st.lists(st.integers(-2, 4), max_size=3),
    ),
)
def test_messages_at_random(live, name, data):
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        call = channel.unary_unary(f"/{messages.SERVICE}/{name}").future(data, timeout=20)
        assert call.code().name in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"), call.details()


def near_message(name: str, texts: list[bytes], raw: list[bytes], shape: list[int]) -> bytes:
    request = messages.message("ModelInferRequest")(model_name=name, raw_input_contents=raw)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=shape)
    if texts:
        tensor.contents.bytes_contents.extend(texts)
    return request.SerializeToString()
