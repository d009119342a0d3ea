import pytest

from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.base import InferenceResponse, check_model, check_texts
from lft_ray.wire import LabelScore
from tests.serve.conftest import LABELS, make_predictor

INFO = make_predictor().info


def response_of(*rows: dict[str, float]) -> InferenceResponse:
    predictions = [[LabelScore(label=label, score=score) for label, score in row.items()] for row in rows]
    return InferenceResponse(predictions, INFO, "id")


def test_matrix_has_its_columns_in_the_order_of_the_model():
    response = response_of(
        {"sport": 0.7, "business": 0.2, "science": 0.1}, {"science": 0.5, "sport": 0.3, "business": 0.2}
    )
    assert response.labels == LABELS
    assert response.matrix() == [[0.2, 0.1, 0.7], [0.2, 0.5, 0.3]]


def test_labels_are_those_of_the_first_text_if_the_model_has_others_by_now():
    response = response_of({"b": 0.9, "a": 0.1}, {"a": 0.6, "b": 0.4})
    assert response.labels == ["b", "a"]
    assert response.matrix() == [[0.9, 0.1], [0.4, 0.6]]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([], "inputs contains no text"),
        (["a", 1], "inputs must contain only texts"),
        (["a", " \t"], "inputs: a text is empty"),
        (["\ud800 hunter2"], "inputs: a text holds half of a surrogate pair"),
    ],
)
def test_check_texts_names_the_field_and_not_the_text(texts, reason):
    with pytest.raises(BadJson, match=reason) as raised:
        check_texts(texts, where="inputs")
    assert raised.value.status == 422
    assert "hunter2" not in str(raised.value)


def test_check_texts_returns_valid_texts_unchanged():
    assert check_texts(("a", " é "), where="inputs") == ["a", " é "]


def test_check_model_accepts_the_general_and_the_own_name():
    check_model("classifier", INFO)
    check_model("minilm:1", INFO)
    with pytest.raises(HttpError, match="no such model: use classifier or minilm:1") as raised:
        check_model("gpt", INFO)
    assert raised.value.status == 404
