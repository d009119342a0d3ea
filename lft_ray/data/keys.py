"""Hash normalised texts, so that texts differing only in case or spacing are equal. In: texts. Out: uint64 keys."""

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from lft_ray.scripts import count_words

__all__ = ["normalise", "shuffled_keys", "text_keys"]

_GAMMA = 0x9E3779B97F4A7C15
"""Increment of splitmix64: 2**64 divided by the golden ratio, odd."""
_HIDDEN = re.compile("[\u00ad\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0100-\U000e01ef]")
"""Characters that a copied text gains or loses unseen: soft hyphens, zero-width spaces, directions, byte order marks,
variants of Chinese characters. The joiners and selectors of emoji are visible.
"""


def normalise(text: str) -> str:
    """Return the text in NFKC form without invisible characters, case-folded, with single spaces.

    Punctuation is preserved: without it, all texts made only of emoji or "?!" would be equal.
    """
    return " ".join(_parts(text))


def _parts(text: str) -> list[str]:
    if text.isascii():
        return text.casefold().split()
    # Case folding can undo the composition (of \u1fb7, for one), hence twice.
    folded = unicodedata.normalize("NFKC", _HIDDEN.sub("", text)).casefold()
    return unicodedata.normalize("NFKC", folded).split()


def text_keys(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash each normalised text and count its words.

    Args:
        texts: n texts without lone surrogates.

    Returns:
        Keys uint64 [n] (with 64 bits, one data set of a million rows in 37 million has a collision) and word counts
        int64 [n].
    """
    keys = bytearray()
    words = np.empty(len(texts), dtype=np.int64)
    for index, text in enumerate(texts):
        parts = _parts(text)
        normal = " ".join(parts)
        words[index] = len(parts) if text.isascii() else count_words(normal)
        keys += hashlib.blake2b(normal.encode(), digest_size=8).digest()
    return np.frombuffer(bytes(keys), dtype="<u8").astype(np.uint64), words


def shuffled_keys(keys: NDArray[np.uint64], *, seed: int, salt: str) -> NDArray[np.uint64]:
    """Map keys one to one to uniform numbers that depend on seed and salt (splitmix64).

    A row's number depends only on its text, seed and salt, so adding rows does not change it.
    """
    start = int.from_bytes(hashlib.blake2b(f"{seed}/{salt}".encode(), digest_size=8).digest(), "little")
    # Arithmetic modulo 2**64 is intended.
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64(start) + np.uint64(_GAMMA)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result
