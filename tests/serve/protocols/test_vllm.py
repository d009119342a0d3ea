import json

import pytest

from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.base import InferenceResponse, RequestHead
from lft_ray.serve.protocols.vllm import VLLM
from lft_ray.wire import LabelScore
from tests.serve.conftest import make_predictor

INFO = make_predictor().info
HEAD = RequestHead(lambda _: "", {}, INFO)


def test_one_text_or_a_list_is_read():
    assert VLLM.read(b'{"input": "a"}', HEAD).texts == ["a"]
    request = VLLM.read(b'{"input": ["a", "b"], "model": "classifier", "activation": false}', HEAD)
    assert (request.texts, request.function) == (["a", "b"], "none")


@pytest.mark.parametrize("key", ["use_activation", "activation", "softmax"])
def test_three_names_of_one_option(key):
    for value, function in ((False, "none"), (True, None), (None, None)):
        assert VLLM.read(json.dumps({"input": "a", key: value}).encode(), HEAD).function == function


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"use_activation": True, "softmax": False}, "differ"),
        ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
        ({"add_special_tokens": False}, "add_special_tokens"),
        ({"truncation_side": "left"}, "truncation_side"),
        ({"messages": []}, "unknown key"),
        ({"priority": "high"}, "priority"),
    ],
)
def test_what_would_change_the_answer_and_is_not_done_is_refused(keys, says):
    with pytest.raises(BadJson, match=says):
        VLLM.read(json.dumps({"input": "a", **keys}).encode(), HEAD)


def test_another_model_is_404():
    with pytest.raises(HttpError) as raised:
        VLLM.read(b'{"input": "a", "model": "gpt"}', HEAD)
    assert raised.value.status == 404


def test_the_response_has_probabilities_in_label_order_and_counts_tokens():
    scores = {"sport": 0.7, "science": 0.2, "business": 0.1}
    predictions = [[LabelScore(label=label, score=score) for label, score in scores.items()]]
    response = InferenceResponse(predictions, INFO, "id-1", tokens=[5], created=9)
    body = json.loads(VLLM.write(VLLM.read(b'{"input": "a"}', HEAD), response).body)
    assert body["data"] == [{"index": 0, "label": "sport", "probs": [0.1, 0.2, 0.7], "num_classes": 3}]
    assert (body["id"], body["created"], body["usage"]["total_tokens"]) == ("classify-id-1", 9, 5)
