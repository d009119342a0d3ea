import json

import pytest

from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.base import InferenceRequest, RequestHead
from lft_ray.serve.protocols.hf import HF, write_response
from lft_ray.wire import LabelScore
from tests.serve.conftest import make_predictor

HEAD = RequestHead(lambda _: "", {}, make_predictor().info)


def read(body: bytes) -> InferenceRequest:
    return HF.read(body, HEAD)


def test_one_text_or_a_list_is_read():
    assert read(b'{"inputs": "a"}').texts == ["a"]
    assert read(b'{"inputs": ["a", "b"], "parameters": {"top_k": 2}}').top_k == 2


@pytest.mark.parametrize(
    ("parameters", "top_k", "truncate"),
    [
        ({"return_all_scores": True, "truncation": "longest_first"}, None, True),
        ({"return_all_scores": False, "truncation": True}, 1, True),
        ({"return_all_scores": False, "top_k": 2, "padding": True, "batch_size": 8}, 2, True),
        ({"truncation": False}, None, False),
        ({"truncation": "do_not_truncate"}, None, False),
    ],
)
def test_parameters_of_pipelines_mean_what_they_mean_there(parameters, top_k, truncate):
    request = read(json.dumps({"inputs": "a", "parameters": parameters}).encode())
    assert (request.top_k, request.truncate) == (top_k, truncate)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the body must be an object"),
        (b"{}", "the key inputs is missing"),
        (b'{"inputs": null}', "the key inputs is missing"),
        (b'{"inputs": [1]}', "inputs must be a text or a list of texts, none of them empty"),
        (b'{"inputs": "a", "hunter2": 1}', "unknown key; known are inputs, options, parameters"),
        (
            b'{"inputs": "a", "parameters": {"hunter2": 1}}',
            "unknown key in parameters; known are batch_size, function_to_apply, padding, return_all_scores, top_k, "
            "truncation",
        ),
        (b'{"inputs": "a", "parameters": {"top_k": "1"}}', "parameters.top_k: must be a valid integer"),
        (b'{"inputs": "a", "parameters": {"top_k": true}}', "parameters.top_k: must be a valid integer"),
        (b'{"inputs": "a", "parameters": {"top_k": 1e1}}', "parameters.top_k: must be a valid integer"),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', "parameters.top_k: must be greater than or equal to 1"),
        (b'{"inputs": "\\ud800"}', "inputs: a text holds half of a surrogate pair, which is not Unicode text"),
        (
            b'{"inputs": "a", "\\uD800": 1}',
            "the body: a text holds half of a surrogate pair, which is not Unicode text",
        ),
        (b'{"inputs": "\\u200b\\u0000"}', "inputs: a text is empty, or has invisible characters only"),
    ],
)
def test_one_reason_names_the_field_and_never_repeats_the_input(body, reason):
    with pytest.raises(BadJson) as raised:
        read(body)
    assert (raised.value.status, str(raised.value)) == (422, reason)


def test_a_response_is_nested_per_text():
    predictions = [[LabelScore(label="a", score=0.5)], [LabelScore(label="b", score=1.0)]]
    assert json.loads(write_response(predictions)) == [[{"label": "a", "score": 0.5}], [{"label": "b", "score": 1.0}]]
