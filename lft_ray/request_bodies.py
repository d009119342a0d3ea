"""Request bodies of a client, as many as the limits of an endpoint require. In: inputs, an `Info`. Out: bodies.

Whatever an endpoint would refuse in an input is an `InputError` that names the input by its place, before anything is
sent.
"""

import json
import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any

from lft_ray.errors import InputError
from lft_ray.wire import PAIR_TEXTS, VISIBLE, Info, PredictionKind, wire_input

__all__ = ["Input", "Question", "bodies", "listed"]

_ENVELOPE_BYTES = 256
"""Bytes reserved for the JSON around the texts of one request."""

Input = str | Sequence[str]
"""A text; for a model on pairs a tuple of two texts."""
Question = Sequence[str]
"""A tuple of a question and its context."""

_METHODS: Mapping[PredictionKind, str] = {"labels": "predict", "spans": "answer"}
"""What predictions consist of -> method of the client that gets them."""
_FIXES: Mapping[PredictionKind, str] = {
    "labels": "predict([text, ...])",
    "spans": "answer([(question, context), ...])",
}


def listed(inputs: Sequence[Any], kind: PredictionKind) -> list[Any]:
    """Return inputs as a list.

    Args:
        inputs: what a method of the client was given.
        kind: which method that was.

    Raises:
        InputError: they are no list.
    """
    method, fix = _METHODS[kind], _FIXES[kind]
    noun = "texts" if kind == "labels" else "questions with their contexts"
    # A str is a sequence of str: without this check each character would be taken for a text.
    if isinstance(inputs, str):
        raise InputError(
            f"{method} expects a list of {noun}, got a single str", fix=fix if kind == "spans" else "predict([text])"
        )
    # A pair alone is a sequence of two texts.
    if kind == "spans" and isinstance(inputs, tuple) and any(isinstance(one, str) for one in inputs):
        raise InputError(f"answer expects a list of {noun}, got a tuple of texts", fix=fix)
    # Of a dictionary or a table the names would be classified, and a set has no order for the answers.
    is_list = not isinstance(inputs, bytes | Mapping | Set) and getattr(inputs, "ndim", 1) == 1
    try:
        if is_list:
            return list(inputs)
    except TypeError:
        pass
    raise InputError(f"{method} expects a list of {noun}, got a {type(inputs).__name__}", fix=fix)


def bodies(inputs: Sequence[Any], top_k: int | None, info: Info, kind: PredictionKind) -> list[dict[str, Any]]:
    """Return the bodies of ``POST /`` for all inputs, in order.

    Args:
        inputs: at least one.
        top_k: parameter of the request; None: none is sent.
        info: description of the endpoint.
        kind: what is asked for.

    Raises:
        InputError: the endpoint has no such predictions, or an input cannot be sent.
    """
    if info.answers != kind:
        does = {"labels": "classifies texts", "spans": "answers questions"}[info.answers]
        raise InputError(
            f"{_METHODS[kind]} is not for this endpoint: its model, {info.model}, {does}", fix=_FIXES[info.answers]
        )
    parameters = {"parameters": {"top_k": _whole(top_k)}} if top_k is not None else {}
    limit = info.max_body_bytes - _ENVELOPE_BYTES
    parts: list[list[str | dict[str, str]]] = [[]]
    size = 0
    for number, given in enumerate(inputs):
        text = _question(number, given) if kind == "spans" else _text(number, given, info)
        length = _json_bytes(number, text, kind) + 1
        if length > limit:
            raise _too_long(text, length, limit, kind)
        if parts[-1] and (len(parts[-1]) == info.max_batch or size + length > limit):
            parts.append([])
            size = 0
        parts[-1].append(wire_input(text, kind))
        size += length
    return [{"inputs": part} | parameters for part in parts]


def _too_long(text: str | tuple[str, str], length: int, limit: int, kind: PredictionKind) -> InputError:
    noun = "text" if kind == "labels" else "question with its context"
    message = f"a {noun} of {length:,} bytes in JSON is longer than the {limit:,} that a request may hold"
    begins = text if isinstance(text, str) else text[0]
    fix = "pass its beginning: the model reads no more" if kind == "labels" else "ask about parts of the context"
    return InputError(f"{message}; it begins {begins[:40]!r}", fix=fix)


def _text(number: int, given: Any, info: Info) -> str | tuple[str, str]:
    return _pair(number, given) if info.segments == PAIR_TEXTS else _single(number, given)


def _single(number: int, given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, tuple | list) and len(given) == PAIR_TEXTS:
        raise InputError(f"text {number} is a pair, and this model reads single texts", fix="predict([text, ...])")
    raise InputError(f"text {number} is a {type(given).__name__}, not a str")


def _pair(number: int, given: Any) -> tuple[str, str]:
    fix = "predict([(text_a, text_b), ...])"
    if isinstance(given, str):
        raise InputError(f"text {number} is a single text, and this model reads pairs of texts", fix=fix)
    if not isinstance(given, tuple | list) or len(given) != PAIR_TEXTS:
        told = f"has {len(given)} texts" if isinstance(given, tuple | list) else f"is a {type(given).__name__}"
        raise InputError(f"text {number} {told}, and this model reads pairs of texts", fix=fix)
    return given[0], given[1]


def _question(number: int, given: Any) -> tuple[str, str]:
    if isinstance(given, tuple | list) and len(given) == PAIR_TEXTS:
        return given[0], given[1]
    told = f"has {len(given)} texts" if isinstance(given, tuple | list) else f"is a {type(given).__name__}"
    raise InputError(f"question {number} {told}, expected a tuple of question and context", fix=_FIXES["spans"])


def _whole(top_k: int) -> int:
    try:
        if not isinstance(top_k, bool):
            return operator.index(top_k)  # numpy's integers too
    except TypeError:
        pass
    raise InputError(f"top_k is a {type(top_k).__name__}, not a whole number")


def _json_bytes(number: int, text: str | tuple[str, str], kind: PredictionKind) -> int:
    noun = "text" if kind == "labels" else "question"
    for side, part in enumerate((text,) if isinstance(text, str) else text):
        if not isinstance(part, str):
            raise InputError(f"{noun} {number} holds a {type(part).__name__}, not a str")
        if not VISIBLE.search(part):
            blank = {"labels": "side", "spans": "context" if side else "question"}[kind]
            told = "is blank" if isinstance(text, str) or blank == "question" else f"has a blank {blank}"
            fix = "there is nothing to classify" if kind == "labels" else "there is nothing to answer"
            raise InputError(f"{noun} {number} {told}", fix=f"leave it out: {fix}")
    try:
        return len(json.dumps(wire_input(text, kind), ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InputError(f"{noun} {number} contains an unpaired surrogate, which is not valid Unicode") from None
