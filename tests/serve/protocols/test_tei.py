import json

import pytest

from lft_ray.serve.http.errors import HttpError, busy
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.base import InferenceResponse, RequestHead
from lft_ray.serve.protocols.tei import TEI
from lft_ray.wire import LabelScore
from tests.serve.conftest import make_predictor

INFO = make_predictor().info
HEAD = RequestHead(lambda _: "", {}, INFO)


def read(**body):
    return TEI.read(json.dumps(body).encode(), HEAD)


@pytest.mark.parametrize(
    ("inputs", "texts", "is_nested"),
    [("a", ["a"], False), (["a"], ["a"], False), ([["a"]], ["a"], True), ([["a"], ["b"]], ["a", "b"], True)],
)
def test_only_a_batch_gets_a_nested_response(inputs, texts, is_nested):
    request = read(inputs=inputs)
    assert request.texts == texts
    predictions = [[LabelScore(label="x", score=0.5)] for _ in texts]
    body = json.loads(TEI.write(request, InferenceResponse(predictions, INFO, "id")).body)
    rows = [[{"label": "x", "score": 0.5}] for _ in texts]
    assert body == (rows if is_nested else rows[0])


def test_options_are_mapped_to_function_and_truncation():
    request = read(inputs="a", raw_scores=True, truncate=False)
    assert (request.function, request.truncate) == ("none", False)
    request = read(inputs="a")
    assert (request.function, request.truncate) == (None, True)


@pytest.mark.parametrize("inputs", [["a", "b"], [["a", "b"]], [["a"], []], [["a", "b", "c"]], [["a"], "b", []]])
def test_pairs_and_other_lists_are_refused(inputs):
    with pytest.raises(BadJson) as raised:
        read(inputs=inputs)
    assert raised.value.status == 422


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (HttpError(413, "", kind=""), 413, "validation"),
        (HttpError(422, ""), 422, "validation"),
        (HttpError(500, ""), 424, "backend"),
        (HttpError(503, "", kind="overloaded"), 429, "overloaded"),
        (busy("no model is ready yet"), 503, "unhealthy"),
    ],
)
def test_errors_have_the_statuses_and_names_of_the_protocol(error, status, kind):
    translated = TEI.translate(error)
    assert (translated.status, translated.kind) == (status, kind)
    assert (translated.message, translated.headers) == (error.message, error.headers)
