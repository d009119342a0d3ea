"""Strict parsing of JSON bodies. In: bytes. Out: plain values or a pydantic model. Never echoes the input.

Every error of `lft_ray.strict_json` becomes an HTTP status here, and every invalid field a sentence.
"""

import codecs
import json
from functools import lru_cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from lft_ray.errors import FieldProblem, field_problems
from lft_ray.strict_json import NestedTooDeeplyError, NotFiniteError, NumberTooLongError, RepeatedKeyError, parse

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
        body: UTF-8 bytes; a byte order mark is dropped, as RFC 8259 lets a parser do.

    Raises:
        BadJson: invalid UTF-8, broken or deeply nested JSON (400); NaN, Infinity or a repeated key (422).
    """
    if not body.strip():
        raise BadJson("the body is empty", 400)
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8")
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
    except NumberTooLongError:
        raise BadJson("a number has too many digits", 400) from None
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
    # JSON can carry half of a surrogate pair, which no tokenizer accepts; only an escape can stand for one.
    if b"\\ud" in body.lower():
        _refuse_surrogates(value, set(model.model_fields))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        keys = _keys_of(model)
        reasons: dict[str, str] = {}  # one reason a field: the branches of a union all report theirs
        for problem in field_problems(error):
            where = _path(problem, keys)
            reasons.setdefault(where, _describe(problem, where, keys, model))
        raise BadJson("; ".join(dict.fromkeys(reasons.values())), 422) from None


def _refuse_surrogates(value: dict[str, Any], known: set[str]) -> None:
    for key, item in value.items():
        try:
            json.dumps([key, item], ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            where = key if key in known else "the body"
            raise BadJson(f"{where}: a text holds half of a surrogate pair, which is not Unicode text", 422) from None


@lru_cache(maxsize=32)
def _keys_of(model: type[BaseModel]) -> dict[str, list[str]]:
    """The keys of a body and of the objects in it, by their path: ``""`` is the body itself.

    Where a field takes objects of several kinds, ``own_keys`` of the model says whose keys are those that it reads.
    """
    found = {"": sorted(model.model_fields)}
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            found |= {f"{name}.{path}".rstrip("."): keys for path, keys in _keys_of(inner).items()}
    own: dict[str, list[str]] = getattr(model, "own_keys", {})
    return found | own


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _path(problem: FieldProblem, keys: dict[str, list[str]]) -> str:
    """Path of a field. Names of ours only: an unknown key came from the request, which is never repeated."""
    path = ""
    for part in problem.location:
        if part in keys.get(path, ()):
            path = f"{path}.{part}".lstrip(".")
    return path


def _describe(problem: FieldProblem, where: str, keys: dict[str, list[str]], model: type[BaseModel]) -> str:
    if problem.kind == "extra_forbidden":
        if not keys[where]:
            return f"{where} must be empty"
        return f"unknown key{' in ' + where if where else ''}; known are {', '.join(keys[where])}"
    if problem.kind == "missing":
        return f"the key {where} is missing"
    expected: dict[str, str] = getattr(model, "expects", {})
    if where in expected:
        return f"{where} {expected[where]}"
    if problem.kind in ("model_type", "dict_type"):  # pydantic names the class, which is no word of JSON
        return f"{where or 'the body'} must be an object"
    # Messages of pydantic name what is allowed, and never what was given.
    return f"{where or 'the body'}: {problem.message.replace('Input should be', 'must be', 1)}"
