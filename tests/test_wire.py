"""Requests and responses between client and server."""

import pytest
from pydantic import ValidationError

from lft_ray.wire import VISIBLE, Info, Parameters, PredictRequest
from tests.serve.conftest import make_predictor


def test_one_text_and_a_list_are_both_read_as_a_list():
    assert PredictRequest(inputs="a").texts == ["a"]
    assert PredictRequest(inputs=["a", "b"]).texts == ["a", "b"]


@pytest.mark.parametrize("inputs", [1, None, [["a"]], [1], {"a": 1}])
def test_inputs_are_texts(inputs):
    with pytest.raises(ValidationError):
        PredictRequest(inputs=inputs)


@pytest.mark.parametrize("text", ["", " \t\n", "\x00", "\u200b\u200d\ufeff", "\u00ad\u202e", "\u3000\u2028"])
def test_a_text_without_a_visible_character(text):
    assert not VISIBLE.search(text)
    assert VISIBLE.search(f"{text}é")


def test_null_means_that_a_key_is_absent():
    assert PredictRequest(inputs="a", parameters=None, options=None) == PredictRequest(inputs="a")
    assert Parameters(top_k=None) == Parameters()


def test_an_older_client_reads_the_info_of_a_newer_endpoint():
    info = make_predictor().info
    assert Info.model_validate_json(info.model_dump_json()) == info
    assert Info.model_validate({**info.model_dump(), "not_yet_known": 1}) == info


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"function_to_apply": "tanh"}, {"topk": 1}])
def test_unknown_or_invalid_parameters_are_refused(fields):
    with pytest.raises(ValidationError):
        Parameters(**fields)


def test_what_an_endpoint_refuses_as_blank_is_blank_where_texts_are_read():
    from lft_ray.texts import is_blank

    characters = (chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000)
    assert [hex(ord(one)) for one in characters if not VISIBLE.search(one) and not is_blank(one)] == []
