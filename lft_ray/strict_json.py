"""Parse JSON as strictly as the standard demands. In: text. Out: plain values, or a specific error.

Python's own parser accepts NaN, Infinity and repeated keys, and raises RecursionError on deep nesting. `parse` raises
at the first of them; `parse_marked` puts a marker in its place, for files whose other values are still needed. Standard
library only.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

__all__ = [
    "NestedTooDeeplyError",
    "NotFinite",
    "NotFiniteError",
    "NumberTooLongError",
    "RepeatedKeyError",
    "RepeatedKeys",
    "parse",
    "parse_marked",
]


class NestedTooDeeplyError(json.JSONDecodeError):
    """The text is nested more deeply than Python can parse."""


class NumberTooLongError(json.JSONDecodeError):
    """An integer has more digits than Python converts."""


class RepeatedKeyError(ValueError):
    """A key is repeated within one object.

    Attributes:
        key: the first repeated key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"duplicate key {key!r}")
        self.key = key


class NotFiniteError(ValueError):
    """NaN or an infinity, which are not valid JSON."""


class RepeatedKeys(dict[str, Any]):
    """Marker for an object with a repeated key.

    Attributes:
        key: the first repeated key.
    """

    key = ""


class NotFinite:
    """Marker for NaN or an infinity."""


def parse(text: str) -> Any:
    """Parse one JSON value.

    Raises:
        json.JSONDecodeError: invalid JSON.
        NestedTooDeeplyError: a subclass of it, for deep nesting.
        NumberTooLongError: a subclass of it, for an integer with more digits than Python converts.
        RepeatedKeyError: a key is repeated within one object.
        NotFiniteError: NaN or an infinity.
    """
    return _decode(_RAISING, text)


def parse_marked(text: str) -> Any:
    """Parse one JSON value; returns `RepeatedKeys` and `NotFinite` markers where `parse` raises.

    Raises:
        json.JSONDecodeError: invalid JSON, as in `parse`.
    """
    return _decode(_MARKING, text)


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise NestedTooDeeplyError("nested too deeply", text, 0) from None
    except (json.JSONDecodeError, RepeatedKeyError, NotFiniteError):
        raise
    except ValueError as error:  # an integer with more digits than Python converts
        raise NumberTooLongError(str(error), text, 0) from error


def _mark_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = RepeatedKeys(found)
    # Count in one pass: a request may contain a hundred thousand keys.
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


def _refuse_overflow(text: str) -> float:
    """A number that is valid JSON and too large for a float, such as 1e400, which Python reads as infinity."""
    value = float(text)
    if math.isinf(value):
        raise NotFiniteError(f"{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'} is too large a number")
    return value


def _mark_overflow(text: str) -> float | NotFinite:
    value = float(text)
    return NotFinite() if math.isinf(value) else value


_SHOWN = 20
"""Characters of a number that a message quotes."""
_MARKING = json.JSONDecoder(
    object_pairs_hook=_mark_repeated, parse_constant=lambda _: NotFinite(), parse_float=_mark_overflow
)
_RAISING = json.JSONDecoder(
    object_pairs_hook=_refuse_repeated, parse_constant=_refuse_constant, parse_float=_refuse_overflow
)
