"""Character n-grams of words for TF-IDF. In: the words of a text. Out: parts of words. Never looks at the text itself.

N-grams lie within a word, so those of a word are the same in every text: whoever needs them can keep them by word.
"""

from collections.abc import Sequence

from lft_ray.models.words import OVERLAP, WORDS, is_unspaced

__all__ = ["grams", "units"]

_LENGTHS = (2, 3, 4, 5)
_LONGEST_WORD = 256
"""Characters of a word that are read: a word of 1 MiB would give 4 million n-grams."""


def units(words: Sequence[str], *, version: int = WORDS) -> Sequence[str]:
    """Return the words, with adjacent letters of scripts without spaces (Chinese, Thai) joined to one.

    Args:
        words: words of a text.
        version: version of the rules by which they were cut.
    """
    if "".join(words).isascii():
        return words
    joined: list[str] = []
    is_open = False
    for word in words:
        if not is_unspaced(word, version=version):
            joined.append(word)
            is_open = False
            continue
        # Beyond this length a run is cut, so that no letter is left unread.
        if is_open and len(joined[-1]) + len(word) <= _LONGEST_WORD:
            joined[-1] += word
        else:
            joined.append(word)
        is_open = True
    return joined


def grams(unit: str) -> list[str]:
    """Return the parts of 2 to 5 characters of a word with a blank on each side; of a shorter word, the whole.

    What two texts have in common is no word, and has none.
    """
    if unit.startswith(OVERLAP):
        return []
    padded = f" {unit[:_LONGEST_WORD]} "
    found = []
    for length in _LENGTHS:
        if len(padded) <= length:
            found.append(padded)
            break
        found += [padded[start : start + length] for start in range(len(padded) - length + 1)]
    return found
