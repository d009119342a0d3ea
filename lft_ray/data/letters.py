"""What a tokenizer leaves of the letters of texts. In: texts and their tokens. Out: `Letters`. Never reads a file.

A vocabulary without a language's words has four ways to hide it: unknown tokens, words spelled out letter by letter or
byte by byte, words cut into short pieces, and marks (tones, accents, vowel signs) that are dropped before it looks. The
first is counted elsewhere.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lft_ray.scripts import is_unspaced

__all__ = ["Letters", "latin_share", "letters_of"]

_SHORT_WORD = 3
"""Letters of a word from which on it is spelled out if a token holds one: "a" and "is" are not."""
_MOST_LETTERS = 200_000
"""Letters looked at, some 0.3 s."""

_LATIN_SHARE = 0.25
"""Share of Latin letters below which their words are names and abbreviations in a text of another script."""
_LATIN = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]+")
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letters:
    """Counts over texts."""

    total: int
    spelled: int
    """Letters that reach the network alone although their word has more, or in several tokens each."""
    dropped_marks: int
    """Marks that the normalisation of the tokenizer removes."""
    latin_words: int = 0
    latin_letters: int = 0
    latin_pieces: int = 0
    """Known tokens with a Latin letter."""

    @property
    def spelled_share(self) -> float:
        """Share of the letters."""
        return self.spelled / max(1, self.total)

    @property
    def dropped_share(self) -> float:
        """Dropped marks per letter."""
        return self.dropped_marks / max(1, self.total)

    @property
    def pieces_per_word(self) -> float:
        """Tokens of a Latin word; 0 where few letters are Latin."""
        return self.latin_pieces / max(1, self.latin_words)

    @property
    def letters_per_piece(self) -> float:
        """Letters of a token of a Latin word; 0 where few letters are Latin."""
        return self.latin_letters / max(1, self.latin_pieces)


def letters_of(
    texts: Sequence[str], spans: Sequence[Sequence[Span]], normalise: Callable[[str], str] | None = None
) -> Letters:
    """Count.

    Args:
        texts: n texts.
        spans: for each text the first character and the end of each of its known tokens.
        normalise: what the tokenizer makes of a text before it cuts it; None: the same text.
    """
    total = spelled = dropped = 0
    latin = [0, 0, 0]
    for text, own in zip(texts, spans, strict=True):
        letters = [character.isalpha() for character in text]
        total += sum(letters)
        spelled += _spelled(text, letters, own)
        words = _LATIN.findall(text)
        latin[0] += len(words)
        latin[1] += sum(map(len, words))
        latin[2] += sum(_LATIN.search(text, start, end) is not None for start, end in own) if words else 0
        if normalise is not None and not text.isascii():
            dropped += max(0, _marks(text) - _marks(normalise(text)))
        if total >= _MOST_LETTERS:
            break
    return Letters(total, spelled, dropped, *(latin if latin[1] >= _LATIN_SHARE * total else ()))


def latin_share(texts: Sequence[str]) -> float:
    """Share of Latin letters among the letters of texts; 1 without letters."""
    total = latin = 0
    for text in texts:
        total += len(text) if text.isascii() else sum(map(str.isalpha, text))
        latin += len(text) if text.isascii() else sum(map(len, _LATIN.findall(text)))
        if total >= _MOST_LETTERS:
            break
    return latin / total if total else 1.0


def _spelled(text: str, letters: Sequence[bool], spans: Sequence[Span]) -> int:
    times: dict[int, int] = {}
    alone = []
    for start, end in spans:
        inside = [place for place in range(start, min(end, len(text))) if letters[place]]
        for place in inside:
            times[place] = times.get(place, 0) + 1
        if len(inside) == 1:
            alone.append(inside[0])
    broken = {place for place, count in times.items() if count > 1}
    single = {place for place in alone if _is_of_alphabet(text[place]) and _has_neighbours(text, place)}
    return len(broken | single)


def _has_neighbours(text: str, place: int) -> bool:
    """Whether the letter is one of a word of several letters."""
    first = last = place
    while first > 0 and place - first < _SHORT_WORD and _is_of_word(text[first - 1]):
        first -= 1
    while last + 1 < len(text) and last - place < _SHORT_WORD and _is_of_word(text[last + 1]):
        last += 1
    return last - first + 1 >= _SHORT_WORD


@lru_cache(maxsize=16_384)
def _is_of_word(character: str) -> bool:
    return character.isalpha() or unicodedata.category(character)[0] == "M"


@lru_cache(maxsize=16_384)
def _is_of_alphabet(character: str) -> bool:
    """Whether words have several such letters: no Chinese character, and no Korean syllable, which is three of them."""
    return not is_unspaced(character) and not "\uac00" <= character <= "\ud7a3"


def _marks(text: str) -> int:
    return sum(unicodedata.category(c)[0] == "M" for c in unicodedata.normalize("NFD", text) if not c.isascii())
