"""Answer questions by shared words, without a network: the cheapest model that finds a piece of a context.

The sentence that shares most words with the question, weighted by how rare they are in the train contexts, and within
it the words that the question does not have, cut to a length that is chosen on the train rows. What a question asks for
(a number, a name) decides between pieces. NumPy only. In: questions with contexts. Out: rows of
`lft_ray.tasks.questions.layout`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import Truncated, Unread
from lft_ray.tasks.base import Task
from lft_ray.tasks.questions.layout import CANDIDATES, LOW, row_of
from lft_ray.texts import Text, same_length

__all__ = ["OverlapModel"]

Floats = NDArray[np.float32]

ENGINE = "overlap"
TERMS = "terms.json"
MOST_TERMS = 50_000
FIT_ROWS = 1_000
"""Train rows on which the length of answers is chosen: enough to tell lengths apart, in about a second."""
_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 20)
_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SCALE = 8.0
"""Factor from a share of the question's words to a score, which a softmax turns to a probability."""
_KIND_BONUS = 0.15
"""Share that is added to a piece of the kind that the question asks for, and taken from one that cannot be."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019.,:/-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f\u061f\u0964]+|\n+")
_BREAK = re.compile(r"[,;:()\[\]\"\u201c\u201d\u2013\u2014]")
_NUMBER = re.compile(
    r"\b(when|how (many|much|old|long|far|often|large|big|high|tall)|what (year|date|day|percent\w*))\b"
)
_NAME = re.compile(r"\b(who|whom|whose|where|which)\b")
_PLAIN = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "been", "being", "by", "did", "do", "does", "for", "from", "had",
    "has", "have", "how", "in", "is", "it", "its", "many", "much", "of", "on", "or", "that", "the", "these", "this",
    "those", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "with",
))  # fmt: skip
"""Words that say nothing about a place in a context, and with which no answer begins or ends."""


class _Asked(list[Any]):
    """Words of a context that are read, as places in it, with the question and the context."""

    def __init__(self, question: str, context: str, words: Sequence[tuple[int, int]]) -> None:
        super().__init__(words)
        self.question, self.context = question, context


class _TruncatedAsked(_Asked, Truncated):
    """A context of which the end is not read."""


class _UnreadAsked(_Asked, Unread):
    """A context without a word."""


@dataclass(frozen=True)
class OverlapModel:
    """A model of shared words.

    Attributes:
        idf: word -> weight: rarer words weigh more, and unknown ones most.
        longest: maximum words of an answer.
        none_score: score below which a question counts as having no answer.
        max_length: maximum words of a context that are read.
    """

    idf: dict[str, float]
    longest: int
    none_score: float
    max_length: int

    @cached_property
    def _unknown(self) -> float:
        return max(self.idf.values(), default=1.0)

    @classmethod
    def fit(cls, texts: Sequence[Text], targets: NDArray[Any], task: Task, seed: int, *, max_length: int) -> Self:
        """Count words, and choose the length of answers, and where there is none, by F1 on train rows.

        Args:
            texts: question and context of n rows.
            targets: output of ``task.encode`` [n].
            task: gives the F1 by which is chosen.
            seed: random seed of the rows that are looked at.
            max_length: maximum words of a context.
        """
        contexts = dict.fromkeys(text[1] for text in texts if isinstance(text, tuple))
        seen: Counter[str] = Counter()
        for context in contexts:
            seen.update({word.lower() for word in _WORD.findall(context)})
        idf = {word: math.log((1 + len(contexts)) / (1 + count)) for word, count in seen.most_common(MOST_TERMS)}
        model = cls(idf, _LENGTHS[0], LOW, max_length)
        rows = np.random.default_rng(seed).permutation(len(texts))[:FIT_ROWS]
        encoded, truth = model.encode([texts[row] for row in rows]), targets[rows]
        f1: dict[int, float] = {}
        for longest in _LENGTHS:
            f1[longest] = task.metrics(truth, replace(model, longest=longest).run(encoded))["f1"]
        model = replace(model, longest=max(f1, key=lambda longest: f1[longest]))
        if all(true["answers"] for true in truth):
            return model
        best = model.run(encoded)[:, 2]
        scores = [LOW, *np.quantile(best, _QUANTILES).tolist()]
        models = [replace(model, none_score=float(score)) for score in scores]
        return max(models, key=lambda one: task.metrics(truth, one.run(encoded))["f1"])

    def with_max_length(self, max_length: int) -> Self:
        """Return the same model for contexts of at most so many words."""
        return replace(self, max_length=max_length)

    def encode(self, texts: Sequence[Text]) -> list[Any]:
        """Find the words of each context, at most ``max_length``."""
        return [self._asked(*(("", text) if isinstance(text, str) else text)) for text in texts]

    def _asked(self, question: str, context: str) -> _Asked:
        found: list[tuple[int, int]] = []
        for match in _WORD.finditer(same_length(context)):
            if len(found) == self.max_length:
                return _TruncatedAsked(question, context, found)
            found.append(match.span())
        return _Asked(question, context, found) if found else _UnreadAsked(question, context, found)

    def run(self, batch: Sequence[Any]) -> Floats:
        """Rows of encoded questions, float32 [n, width]."""
        return np.stack([self._row(asked) for asked in batch])

    def logits(self, texts: Sequence[Text]) -> Floats:
        """Rows of questions with contexts, float32 [n, width]."""
        return self.run(self.encode(texts))

    def _row(self, asked: _Asked) -> Floats:
        question = asked.question.lower()
        wanted = {word: self.idf.get(word, self._unknown) for word in _WORD.findall(question) if word not in _PLAIN}
        total = sum(wanted.values()) or 1.0
        pieces: dict[tuple[int, int], float] = {}
        for sentence in _sentences(asked):
            words = [asked.context[start:end].lower() for start, end in sentence]
            share = sum(wanted[word] for word in set(words) & set(wanted)) / total
            for first, last in self._runs(asked, sentence, words, wanted):
                place = (sentence[first][0], sentence[last][1])
                kind = _KIND_BONUS * _fits(question, asked.context[slice(*place)])
                near = 0.1 / (1 + _distance(words, first, last, wanted))
                pieces[place] = _SCALE * (share + kind + near)
        if not pieces:
            return row_of(np.empty((0, 3)), LOW, self.none_score)
        ranked = sorted(pieces.items(), key=lambda piece: -piece[1])
        highest = ranked[0][1]
        log_total = highest + math.log(sum(math.exp(score - highest) for _, score in ranked))
        spans = np.array([(*place, score) for place, score in ranked[:CANDIDATES]], np.float64)
        return row_of(spans, log_total, self.none_score)

    def _runs(
        self, asked: _Asked, sentence: Sequence[tuple[int, int]], words: Sequence[str], wanted: dict[str, float]
    ) -> Iterator[tuple[int, int]]:
        """First and last word of each stretch without a word of the question, and without a comma or bracket."""
        first = 0
        for at in range(len(words) + 1):
            ends = at == len(words) or words[at] in wanted
            breaks = 0 < at < len(words) and _BREAK.search(asked.context, sentence[at - 1][1], sentence[at][0])
            if not (ends or breaks):
                continue
            last = at - 1
            while first <= last and words[first] in _PLAIN:
                first += 1
            last = min(last, first + self.longest - 1)
            while first <= last and words[last] in _PLAIN:
                last -= 1
            if first <= last:
                yield first, last
            first = at + 1 if ends else at

    def save(self, folder: Path, *, model_size: str = "overlap") -> None:
        """Write a folder that the overlap engine can open; the folder is created if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"longest": self.longest, "none_score": self.none_score, "idf": self.idf}
        (folder / TERMS).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")
        card = EngineCard(engine=ENGINE, model_size=model_size, outputs=2, max_length=self.max_length, segments=2)
        card.write(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder written by `save`.

        Raises:
            BundleError: files are missing or damaged.
        """
        card = EngineCard.read(folder)
        try:
            facts = json.loads((folder / TERMS).read_text(encoding="utf-8"))
            idf = {str(word): float(weight) for word, weight in facts["idf"].items()}
            return cls(idf, int(facts["longest"]), float(facts["none_score"]), card.max_length)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{folder} cannot be opened as a model of shared words: {error!r}") from error


def _sentences(asked: _Asked) -> Iterator[list[tuple[int, int]]]:
    """Words of each sentence, as places."""
    ends = [match.end() for match in _SENTENCE_END.finditer(asked.context)]
    sentence: list[tuple[int, int]] = []
    number = 0
    for word in asked:
        while number < len(ends) and word[0] >= ends[number]:
            number += 1
            if sentence:
                yield sentence
                sentence = []
        sentence.append(word)
    if sentence:
        yield sentence


def _fits(question: str, piece: str) -> int:
    """1 where a piece is of the kind that an English question asks for, -1 where it cannot be, else 0."""
    has_digit = any(character.isdigit() for character in piece)
    if _NUMBER.search(question):
        return 1 if has_digit else -1
    if _NAME.search(question):
        return 1 if piece[:1].isupper() else -1
    return 0


def _distance(words: Sequence[str], first: int, last: int, wanted: dict[str, float]) -> int:
    """Words between a piece and the nearest word of the question."""
    before = next((first - at for at in range(first - 1, -1, -1) if words[at] in wanted), len(words))
    after = next((at - last for at in range(last + 1, len(words)) if words[at] in wanted), len(words))
    return min(before, after) - 1
