"""Read JSON as strictly as the standard wants it. In: text. Out: plain values, or a named error. Standard library only.

Python's own reader lets NaN, Infinity, repeated keys and any depth through. `parse` raises at the first of them;
`parse_marked` puts a mark in its place, for a file whose other values are still wanted.
"""

import json
from collections import Counter
from typing import Any, NoReturn

__all__ = [
    "NestedTooDeeplyError",
    "NotFinite",
    "NotFiniteError",
    "RepeatedKeyError",
    "RepeatedKeys",
    "parse",
    "parse_marked",
]


class NestedTooDeeplyError(json.JSONDecodeError):
    """The text is nested deeper than Python can follow."""


class RepeatedKeyError(ValueError):
    """A key stands twice in one object.

    Attributes:
        key: the first such key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} stands twice")
        self.key = key


class NotFiniteError(ValueError):
    """NaN or an infinity, which JSON does not have."""


class RepeatedKeys(dict[str, Any]):
    """The mark of an object in which a key stands twice.

    Attributes:
        key: the first such key.
    """

    key = ""


class NotFinite:
    """The mark of NaN or an infinity."""


def parse(text: str) -> Any:
    """Parse one JSON value.

    Raises:
        json.JSONDecodeError: broken JSON, or an integer of more digits than Python converts.
        NestedTooDeeplyError: a kind of it.
        RepeatedKeyError: a key stands twice in one object.
        NotFiniteError: NaN or an infinity.
    """
    return _decode(_RAISING, text)


def parse_marked(text: str) -> Any:
    """Parse one JSON value, with `RepeatedKeys` and `NotFinite` where `parse` raises.

    Raises:
        json.JSONDecodeError: as `parse`.
    """
    return _decode(_MARKING, text)


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise NestedTooDeeplyError("nested too deeply", text, 0) from None
    except (json.JSONDecodeError, RepeatedKeyError, NotFiniteError):
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise json.JSONDecodeError(str(error), text, 0) from error


def _mark_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = RepeatedKeys(found)
    # Counted in one pass: a request may hold a hundred thousand keys.
    counts = Counter(key for key, _ in pairs)
    marked.key = next(key for key in counts if counts[key] > 1)
    return marked


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _mark_repeated(pairs)
    if isinstance(found, RepeatedKeys):
        raise RepeatedKeyError(found.key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotFiniteError(f"{name} is not a JSON number")


_MARKING = json.JSONDecoder(object_pairs_hook=_mark_repeated, parse_constant=lambda _: NotFinite())
_RAISING = json.JSONDecoder(object_pairs_hook=_refuse_repeated, parse_constant=_refuse_constant)
