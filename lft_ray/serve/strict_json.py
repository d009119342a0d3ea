"""Read a JSON body as strictly as the standard wants it. In: bytes. Out: plain values. Never echoes what it read.

Python's own reader lets NaN, Infinity, repeated keys and any depth through; each of them is a named error here.
"""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = ["BadJson", "read_json", "read_object"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class BadJson(Exception):
    """The body cannot be used.

    Attributes:
        status: 400 when it is not JSON at all, 422 when it is JSON that no client should send.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def read_json(body: bytes) -> Any:
    """Parse a request body.

    Args:
        body: UTF-8 bytes.

    Raises:
        BadJson: invalid UTF-8, broken or deeply nested JSON (400); NaN, Infinity or a repeated key (422).
    """
    if not body.strip():
        raise BadJson("the body is empty", 400)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("the body is not valid UTF-8", 400) from None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise BadJson("the body is nested too deeply", 400) from None
    except ValueError:
        raise BadJson("the body is not valid JSON", 400) from None


def read_object(body: bytes, model: type[ModelT]) -> ModelT:
    """Parse a request body into a model; every mistake is named by its field.

    Raises:
        BadJson: as `read_json`, or it does not fit the model (422). What came from the request is not repeated.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise BadJson("the body must be an object", 422)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        known = set(model.model_fields)
        found = [_describe(detail["loc"], detail["type"], known) for detail in error.errors(include_url=False)]
        raise BadJson("; ".join(dict.fromkeys(found)), 422) from None


def _describe(loc: tuple[Any, ...], kind: str, known: set[str]) -> str:
    if kind == "extra_forbidden":
        return f"unknown key; known are {', '.join(sorted(known))}"
    where = next((str(part) for part in loc if part in known), "the body")
    if kind == "missing":
        return f"the key {where} is missing"
    if kind == "string_unicode":
        return f"{where}: a text holds half of a surrogate pair, which is not Unicode text"
    return f"{where} is not what it must be: see /docs"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadJson("a key appears twice in one object", 422)
    return found


def _no_constant(_: str) -> NoReturn:
    raise BadJson("NaN and Infinity are not JSON numbers", 422)
