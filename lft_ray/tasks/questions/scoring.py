"""Exact match and F1 of answers, as SQuAD's evaluation computes them. In: texts. Out: numbers. NumPy only.

Rajpurkar et al. 2016 (arXiv:1606.05250) and 2018 (arXiv:1806.03822): texts are compared in lower case, without ASCII
punctuation, articles and repeated blanks; F1 is that of the bag of words; of several true answers the best one counts.
With questions that have no answer, "no answer" is right for these alone.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from lft_ray.scripts import UNSPACED_LETTER

__all__ = ["exact_and_f1", "is_written_without_blanks", "normalised", "words_of"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalised(text: str) -> str:
    """Return an answer as it is compared."""
    kept = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def words_of(text: str, *, by_character: bool = False) -> list[str]:
    """Words of an answer as F1 counts them; by character, each letter of a script without blanks is a word."""
    if by_character:
        text = UNSPACED_LETTER.sub(lambda found: f" {found.group()} ", unicodedata.normalize("NFKC", text))
    return normalised(text).split()


def is_written_without_blanks(texts: Sequence[str]) -> bool:
    """Whether most letters of these texts are of scripts that put no blanks between words."""
    letters = sum(character.isalpha() for text in texts for character in text)
    return bool(letters) and sum(len(UNSPACED_LETTER.findall(text)) for text in texts) > letters / 2


def exact_and_f1(
    predicted: str | None, answers: Sequence[str], *, has_none: bool, by_character: bool = False
) -> tuple[float, float]:
    """Exact match and F1 of one prediction, each 0 to 1.

    Args:
        predicted: the answer; None: there is none.
        answers: the true answers; empty: there is none.
        has_none: whether the data has questions without an answer. Where it has, a true answer of which nothing is
            left counts as "no answer" (SQuAD 2.0), else as nothing that can be found (SQuAD 1.1).
        by_character: count letters, for scripts without blanks.
    """
    text = predicted or ""
    true = [answer for answer in answers if not has_none or normalised(answer)] or [""]
    exact = max(float(normalised(text) == normalised(answer)) for answer in true)
    found = words_of(text, by_character=by_character)
    return exact, max(_f1(found, words_of(answer, by_character=by_character), has_none=has_none) for answer in true)


def _f1(found: list[str], true: list[str], *, has_none: bool) -> float:
    if has_none and not (found and true):
        return float(found == true)
    common = (Counter(found) & Counter(true)).total()
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(true)
    return 2 * precision * recall / (precision + recall)
