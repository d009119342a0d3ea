"""Requests and responses between client and server."""

import pytest
from pydantic import ValidationError

from lft_ray.wire import Parameters, PredictRequest


def test_one_text_and_a_list_are_both_read_as_a_list():
    assert PredictRequest(inputs="a").texts == ["a"]
    assert PredictRequest(inputs=["a", "b"]).texts == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", "at least 1 character"),
        ("  ", "a text is empty"),
        (["a", "\ud800"], "unicode"),
        ([], "at least 1 item"),
    ],
)
def test_texts_that_cannot_be_tokenized_are_refused(inputs, message):
    with pytest.raises(ValidationError, match=message):
        PredictRequest(inputs=inputs)


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"function_to_apply": "tanh"}, {"topk": 1}])
def test_unknown_or_invalid_parameters_are_refused(fields):
    with pytest.raises(ValidationError):
        Parameters(**fields)
