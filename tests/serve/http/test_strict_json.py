from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from lft_ray.serve.http.strict_json import BadJson, read_json, read_object


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    count: int = 0


def test_valid_json_is_parsed():
    assert read_json('{"a": [1, "é", null]}'.encode()) == {"a": [1, "é", None]}
    assert read_object(b'{"name": "x"}', Body) == Body(name="x")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b" \n", 400, "empty"),
        (b'{"a": "\xff"}', 400, "UTF-8"),
        (b"{a: 1}", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"a": 1, "a": 2}', 422, "twice"),
        (b"[NaN]", 422, "NaN"),
        (b"[-Infinity]", 422, "Infinity"),
    ],
)
def test_invalid_json_has_a_status_and_a_reason(body, status, reason):
    with pytest.raises(BadJson, match=reason) as raised:
        read_json(body)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the body must be an object"),
        (b"{}", "the key name is missing"),
        (b'{"name": 1}', "name: must be a valid string"),
        (b'{"name": "\\ud800"}', "name: a text holds half of a surrogate pair, which is not Unicode text"),
        (b'{"name": "x", "hunter2": 1}', "unknown key; known are count, name"),
        (
            b'{"count": "hunter2"}',
            "the key name is missing; count: must be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_invalid_fields_are_named_and_the_input_is_not_repeated(body, reason):
    with pytest.raises(BadJson) as raised:
        read_object(body, Body)
    assert (raised.value.status, str(raised.value)) == (422, reason)
