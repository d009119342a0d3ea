"""Strict parsing of JSON bodies. In: bytes. Out: plain values or a pydantic model. Never echoes the input.

Every error of `lft_ray.strict_json` becomes an HTTP status here, and every invalid field a sentence.
"""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lft_ray.errors import FieldProblem, field_problems
from lft_ray.strict_json import NestedTooDeeplyError, NotFiniteError, RepeatedKeyError, parse

__all__ = ["BadJson", "read_json", "read_object"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class BadJson(Exception):
    """The body is invalid.

    Attributes:
        status: 400 if it is not JSON, 422 if it is JSON but not a valid request.
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
        return parse(text)
    except RepeatedKeyError:
        raise BadJson("a key appears twice in one object", 422) from None
    except NotFiniteError:
        raise BadJson("NaN and Infinity are not JSON numbers", 422) from None
    except NestedTooDeeplyError:
        raise BadJson("the body is nested too deeply", 400) from None
    except json.JSONDecodeError:
        raise BadJson("the body is not valid JSON", 400) from None


def read_object(body: bytes, model: type[ModelT]) -> ModelT:
    """Parse a request body into a pydantic model.

    Raises:
        BadJson: as `read_json`, or the body does not fit the model (422). The message names every invalid field and
            never repeats what was sent.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise BadJson("the body must be an object", 422)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        known = set(model.model_fields)
        reasons = [_describe(problem, known) for problem in field_problems(error)]
        raise BadJson("; ".join(dict.fromkeys(reasons)), 422) from None


def _describe(problem: FieldProblem, known: set[str]) -> str:
    if problem.kind == "extra_forbidden":
        return f"unknown key; known are {', '.join(sorted(known))}"
    # Only names of ours: an unknown key came from the request.
    where = next((str(part) for part in problem.location if part in known), "the body")
    if problem.kind == "missing":
        return f"the key {where} is missing"
    if problem.kind == "string_unicode":
        return f"{where}: a text holds half of a surrogate pair, which is not Unicode text"
    return f"{where} has an invalid value: see /docs"
