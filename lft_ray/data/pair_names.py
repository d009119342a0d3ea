"""Names that two columns of a pair of texts have. In: column names. Out: the two that belong together, or None."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NamedPair", "named_pair"]

_CLEAR = (("premise", "hypothesis"), ("text", "text_pair"), ("claim", "evidence"), ("anchor", "candidate"))
"""Names that mean two texts which are judged together, whatever the label is."""
_LIKELY = (
    ("question", "sentence"), ("question", "answer"), ("question", "passage"), ("question", "context"),
    ("question", "reply"), ("query", "passage"), ("query", "document"), ("query", "answer"), ("query", "title"),
    ("source", "target"), ("first", "second"), ("left", "right"),
)  # fmt: skip
"""Names that could also be a text and a remark on it: a label with few values says that both are judged."""
_SIDES = {"1": "2", "a": "b"}
_NUMBERED = re.compile(r"(.*?)([\s_.-]?)([1a])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NamedPair:
    """Two columns that belong together by their names."""

    first: str
    second: str
    is_clear: bool
    """Whether the names mean a pair whatever the label is."""


def named_pair(names: Sequence[str]) -> NamedPair | None:
    """Return the pair among columns; None where there is none, or several that are as likely.

    Args:
        names: names of the columns that could each be one of the two texts.
    """
    known = {name.strip().casefold(): name for name in names}
    clear = [*_numbered(known), *_both(known, _CLEAR)]
    likely = _both(known, _LIKELY)
    for found, is_clear in ((clear, True), (likely, False)):
        if len(found) == 1:
            return NamedPair(known[found[0][0]], known[found[0][1]], is_clear)
        if found:
            return None
    return None


def _both(known: dict[str, str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(first, second) for first, second in pairs if first in known and second in known]


def _numbered(known: dict[str, str]) -> list[tuple[str, str]]:
    """Names that differ in their last character alone: 1 and 2, or a and b after a mark."""
    found = []
    for name in known:
        match = _NUMBERED.fullmatch(name)
        if match is None or not match[1] or (match[3] == "a" and not match[2]):
            continue  # "data" and "datb" are no pair
        other = f"{match[1]}{match[2]}{_SIDES[match[3]]}"
        third = f"{match[1]}{match[2]}{'3' if match[3] == '1' else 'c'}"
        if other in known and third not in known:
            found.append((name, other))
    return found
