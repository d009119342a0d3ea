import json

import pytest

from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.hf import read_request, write_response
from lft_ray.wire import LabelScore


def test_one_text_or_a_list_is_read():
    assert read_request(b'{"inputs": "a"}').texts == ["a"]
    assert read_request(b'{"inputs": ["a", "b"], "parameters": {"top_k": 2}}').parameters.top_k == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the body must be an object with the key inputs"),
        (b"{}", "the key inputs is missing"),
        (b'{"inputs": [1]}', "inputs must be a text or a list of texts, none of them empty"),
        (b'{"inputs": "a", "hunter2": 1}', "unknown key; known are inputs, parameters (top_k, function_to_apply)"),
        (
            b'{"inputs": "a", "parameters": {"hunter2": 1}}',
            "unknown key in parameters; known are inputs, parameters (top_k, function_to_apply)",
        ),
    ],
)
def test_an_invalid_field_is_named_once_and_the_input_is_not_repeated(body, reason):
    with pytest.raises(BadJson) as raised:
        read_request(body)
    assert (raised.value.status, str(raised.value)) == (422, reason)


def test_a_response_is_nested_per_text():
    predictions = [[LabelScore(label="a", score=0.5)], [LabelScore(label="b", score=1.0)]]
    assert json.loads(write_response(predictions)) == [[{"label": "a", "score": 0.5}], [{"label": "b", "score": 1.0}]]
