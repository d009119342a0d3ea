import json

import pytest

from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.base import InferenceResponse, RequestHead
from lft_ray.serve.protocols.kserve import KSERVE, LENGTH_HEADER, metadata
from lft_ray.serve.protocols.tensors import pack_floats, pack_texts
from lft_ray.wire import LabelScore
from tests.serve.conftest import LABELS, make_predictor

INFO = make_predictor().info


def head(*, length: str = "", model: str = "classifier", version: str = "") -> RequestHead:
    headers = {LENGTH_HEADER.encode(): length}
    return RequestHead(lambda name: headers.get(name, ""), {"model": model, "version": version}, INFO)


def body_of(*, binary: bytes | None = None, outputs=None, **fields) -> bytes:
    tensor: dict[str, object] = {"name": "text", "shape": [2], "datatype": "BYTES"}
    tensor |= {"data": ["a", "b"]} if binary is None else {"parameters": {"binary_data_size": len(binary)}}
    body = {"inputs": [tensor]} | ({} if outputs is None else {"outputs": outputs}) | fields
    return json.dumps(body).encode()


def response() -> InferenceResponse:
    rows = [(0.1, 0.2, 0.7), (0.6, 0.3, 0.1)]
    predictions = [
        sorted((LabelScore(label=n, score=s) for n, s in zip(LABELS, row, strict=True)), key=lambda one: -one.score)
        for row in rows
    ]
    return InferenceResponse(predictions, INFO, "id")


def test_texts_are_read_from_json_and_from_binary_data():
    packed = pack_texts(["a", "b"])
    json_part = body_of(binary=packed)
    assert KSERVE.read(body_of(), head()).texts == ["a", "b"]
    assert KSERVE.read(json_part + packed, head(length=str(len(json_part)))).texts == ["a", "b"]


def test_bytes_that_no_tensor_declares_are_refused():
    json_part = body_of()
    with pytest.raises(BadJson, match="belong to no tensor"):
        KSERVE.read(json_part + b"x", head(length=str(len(json_part))))


def test_a_size_of_true_is_not_one_byte():
    body = body_of(binary=b"").replace(b'"binary_data_size": 0', b'"binary_data_size": true')
    with pytest.raises(BadJson, match="binary_data_size"):
        KSERVE.read(body + b"x", head(length=str(len(body))))


@pytest.mark.parametrize("changes", [{"model": "other"}, {"version": "other"}])
def test_another_model_or_version_is_404(changes):
    with pytest.raises(HttpError) as raised:
        KSERVE.read(body_of(), head(**changes))
    assert raised.value.status == 404


def test_the_response_is_json_with_all_outputs_by_default():
    written = KSERVE.write(KSERVE.read(body_of(id="7"), head()), response())
    body = json.loads(written.body)
    assert (body["id"], body["model_name"], body["model_version"]) == ("7", "classifier", "abc123abc123")
    assert [(one["name"], one["shape"], one["data"]) for one in body["outputs"]] == [
        ("label", [2], ["sport", "business"]),
        ("score", [2], [0.7, 0.6]),
        ("probabilities", [2, 3], [0.1, 0.2, 0.7, 0.6, 0.3, 0.1]),
    ]


def test_binary_outputs_follow_the_json_in_their_order():
    outputs = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]
    written = KSERVE.write(KSERVE.read(body_of(outputs=outputs), head()), response())
    length = int(written.headers[LENGTH_HEADER])
    assert written.media_type == "application/octet-stream"
    assert written.body[length:] == pack_floats([0.7, 0.6])
    score, label = json.loads(written.body[:length])["outputs"]
    assert (score["parameters"], "data" in score) == ({"binary_data_size": 8}, False)
    assert label["data"] == ["sport", "business"]


def test_metadata_lists_the_tensors_under_the_requested_name():
    found = metadata("classifier", INFO)
    assert (found["name"], found["versions"]) == ("classifier", ["abc123abc123"])
    assert found["outputs"][-1]["shape"] == [-1, len(LABELS)]
