"""Decide whether the texts of a checkpoint are lower-cased: nothing in it says so, and a wrong answer ruins a model.

In: what the user says, the name of the folder, and the vocabulary. Out: the decision, and what it rests on. A name that
the vocabulary contradicts is an error.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from lft_ray.errors import ModelError

__all__ = ["Casing", "casing"]

_UNCASED = re.compile(r"(?:^|[^a-z])uncased(?:[^a-z]|$)|(?:^|[^a-z])(?:chinese|multilingual)_l-12", re.IGNORECASE)
"""Google lower-cased its Chinese and its first multilingual BERT, whose names do not say so."""
_CASED = re.compile(r"(?:^|[^a-z])cased(?:[^a-z]|$)", re.IGNORECASE)
_FIX = "say which it is: --uncased or --cased"


@dataclass(frozen=True, slots=True)
class Casing:
    """The decision.

    Attributes:
        lower: whether texts are lower-cased (``do_lower_case``).
        source: what it rests on: ``option``, ``name`` or ``vocabulary``.
        reason: the same in words.
    """

    lower: bool
    source: Literal["option", "name", "vocabulary"]
    reason: str


def casing(asked: bool | None, name: str, vocabulary: Collection[str]) -> Casing:
    """Decide whether texts are lower-cased.

    Args:
        asked: True for ``--uncased``, False for ``--cased``, None for neither.
        name: name of the folder.
        vocabulary: tokens of ``vocab.txt``.

    Raises:
        ModelError: the name says one thing and the vocabulary the other, and the user nothing.
    """
    capitals = [token for token in vocabulary if token != token.lower() and not _is_special(token)]
    if asked is not None:
        told = "--uncased" if asked else "--cased"
        if asked == bool(capitals):
            told += f", although vocab.txt has {len(capitals):,} tokens with capitals"
        return Casing(asked, "option", told)
    named = True if _UNCASED.search(name) else False if _CASED.search(name) else None
    if named is None:
        words = f"vocab.txt has {len(capitals):,} tokens with capitals"
        return Casing(not capitals, "vocabulary", f"{words}, such as {capitals[0]!r}" if capitals else words)
    if named and capitals:
        raise ModelError(
            f"the name of {name!r} says uncased, and vocab.txt has {len(capitals):,} tokens with capitals, such as "
            f"{capitals[0]!r}, which no lower-cased text contains",
            fix=_FIX,
        )
    if not named and not capitals:
        raise ModelError(
            f"the name of {name!r} says cased, and no token of vocab.txt has a capital: every word with one would be "
            "unknown",
            fix=_FIX,
        )
    return Casing(named, "name", f"the name {name!r}")


def _is_special(token: str) -> bool:
    return token.startswith(("[", "<")) and token.endswith(("]", ">")) and len(token) > 1
