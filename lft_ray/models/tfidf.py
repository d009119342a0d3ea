"""TF-IDF with logistic regression: the cheapest rung of the ladder. Fitted with scikit-learn, run without it.

In: texts and targets, or a folder. Out: logits whose softmax (sigmoid for several labels) are the model's own
probabilities. A folder holds ``vocabulary.json`` and ``linear.safetensors``, no pickle. Never imports torch.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import Cut
from lft_ray.tasks.base import Task

__all__ = ["TfidfModel", "ngrams", "split_words"]

Floats = NDArray[np.float32]

VOCABULARY = "vocabulary.json"
LINEAR = "linear.safetensors"
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
"""A run of letters, digits and underscores; a Chinese or Japanese character alone, for these have no spaces."""
_MOST_TERMS = 100_000
"""AG News, 40,775 rows: 100,000 and 190,896 terms give the same accuracy, and a row of float32 a label each is read."""
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
_MOST_HELD_OUT = 5_000
_MOST_TRIED = 10_000
"""Rows that the strengths are tried on; together with those held out at most 15,000, however large the data."""
_TOLERANCE = 1e-5
"""scikit-learn's own 1e-4 stops a warm start at once: on AG News, C 10 and 30 took 0 iterations."""
_NEVER = -12.0
"""Logit of a label without a single example: a probability of 6e-6."""


def split_words(text: str, max_length: int) -> list[str]:
    """Return the first ``max_length`` words of a text, lower-cased; as `Cut` where there are more."""
    words = _WORD.findall(text.lower())
    return words if len(words) <= max_length else Cut(words[:max_length])


def ngrams(words: Sequence[str]) -> list[str]:
    """Return the words and the pairs of neighbours."""
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


@dataclass(frozen=True, slots=True, eq=False)
class TfidfModel:
    """A fitted model of d terms and c outputs.

    Attributes:
        vocabulary: term -> row.
        idf: float32 [d].
        coef: float32 [d, c].
        intercept: float32 [c].
        max_length: words kept of a text.
        strength: inverse regularisation C that was chosen.
    """

    vocabulary: dict[str, int]
    idf: Floats
    coef: Floats
    intercept: Floats
    max_length: int
    strength: float

    @property
    def outputs(self) -> int:
        """Outputs c."""
        return len(self.intercept)

    @classmethod
    def fit(
        cls, texts: Sequence[str], targets: NDArray[Any], task: Task, seed: int, *, max_length: int = 512
    ) -> "TfidfModel":
        """Fit on all texts, with the strength that was best on a part of them.

        Args:
            texts: n texts.
            targets: as ``task.encode`` makes them: int64 [n], or float32 [n, c] of 0 and 1.
            task: tells the outputs and the score (macro F1) by which the strength is chosen.
            seed: of the hold-out.
            max_length: words kept of a text.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        analyzer = partial(_terms, max_length=max_length)
        # Below 2,000 rows a term seen once is a fair share of all there is.
        vectorizer = TfidfVectorizer(
            analyzer=analyzer,
            sublinear_tf=True,
            min_df=2 if len(texts) >= 2000 else 1,
            max_features=_MOST_TERMS,
            dtype=np.float32,
        )
        matrix = vectorizer.fit_transform(texts)
        strength = _choose_strength(matrix, targets, task, seed)
        linear = _Linear(task.outputs, several=targets.ndim == 2)
        coef, intercept = linear.fit(matrix, targets, strength)
        vocabulary = {str(term): int(row) for term, row in vectorizer.vocabulary_.items()}
        return cls(vocabulary, vectorizer.idf_.astype(np.float32), coef, intercept, max_length, strength)

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """Words of each text, at most ``max_length``."""
        return [split_words(text, self.max_length) for text in texts]

    def run(self, batch: Sequence[Sequence[str]]) -> Floats:
        """Logits [n, c] of texts that are split into words."""
        return np.stack([self._answer(words) for words in batch])

    def logits(self, texts: Sequence[str]) -> Floats:
        """Logits [n, c] of texts."""
        return self.run(self.encode(texts))

    def _answer(self, words: Sequence[str]) -> Floats:
        known = self.vocabulary
        counts = Counter(known[term] for term in ngrams(words) if term in known)
        if not counts:
            return self.intercept
        rows = np.fromiter(counts, dtype=np.intp, count=len(counts))
        times = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
        values: Floats = (np.float32(1.0) + np.log(times)) * self.idf[rows]
        values = values / np.float32(math.sqrt(values @ values))
        answer: Floats = values @ self.coef[rows] + self.intercept
        return answer

    def save(self, folder: Path, *, model_size: str = "tfidf") -> None:
        """Write a folder that the sklearn engine opens; made if it does not exist."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        terms = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        facts = {"strength": self.strength, "terms": terms}
        (folder / VOCABULARY).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file({"idf": self.idf, "coef": self.coef, "intercept": self.intercept}, folder / LINEAR)
        EngineCard(engine="sklearn", model_size=model_size, outputs=self.outputs, max_length=self.max_length).write(
            folder
        )

    @classmethod
    def load(cls, folder: Path) -> "TfidfModel":
        """Read a folder that `save` wrote.

        Raises:
            BundleError: files are missing, damaged or do not fit each other.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        card = EngineCard.read(folder)
        try:
            facts = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
            arrays = load_file(folder / LINEAR)
            terms = facts["terms"]
            model = cls(
                vocabulary={term: row for row, term in enumerate(terms)},
                idf=arrays["idf"],
                coef=np.ascontiguousarray(arrays["coef"]),
                intercept=arrays["intercept"],
                max_length=card.max_length,
                strength=float(facts["strength"]),
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(f"{folder} cannot be opened as a TF-IDF model: {error!r}") from error
        d, c = len(terms), card.outputs
        if model.idf.shape != (d,) or model.coef.shape != (d, c) or model.intercept.shape != (c,):
            raise BundleError(f"{folder}: {VOCABULARY}, {LINEAR} and the engine card do not fit each other")
        return model


def _terms(text: str, *, max_length: int) -> list[str]:
    return ngrams(split_words(text, max_length))


class _Linear:
    """Logistic regression, one over all labels or one a label, that starts from where its last fit ended."""

    def __init__(self, outputs: int, *, several: bool) -> None:
        from sklearn.linear_model import LogisticRegression

        self._outputs = outputs
        self._several = several
        self._models = [
            LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=200) for _ in range(outputs if several else 1)
        ]

    def fit(self, matrix: Any, targets: NDArray[Any], strength: float) -> tuple[Floats, Floats]:
        """Fit and return coef float32 [d, c] and intercept float32 [c]."""
        coef = np.zeros((matrix.shape[1], self._outputs), dtype=np.float32)
        intercept = np.full(self._outputs, _NEVER, dtype=np.float32)
        for number, model in enumerate(self._models):
            own = targets[:, number] > 0.5 if self._several else targets
            classes = np.unique(own)
            if len(classes) == 1:
                # Nothing to separate: the one value that was seen is certain.
                place = number if self._several else int(classes[0])
                intercept[place] = -_NEVER if not self._several or classes[0] else _NEVER
                continue
            model.C = strength
            _fit_quietly(model, matrix, own)
            places, weights, offsets = _columns(model, number if self._several else None)
            coef[:, places] = weights.T
            intercept[places] = offsets
        return coef, intercept


def _columns(model: Any, label: int | None) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Outputs that a fitted model fills, with their weights [k, d] and offsets [k]."""
    if label is not None:
        return np.array([label]), model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn keeps one row z for two labels; softmax of (-z/2, z/2) is its sigmoid.
        halves = np.array([[-0.5], [0.5]])
        return model.classes_, halves * model.coef_, halves[:, 0] * model.intercept_
    return model.classes_, model.coef_, model.intercept_


def _fit_quietly(model: Any, matrix: Any, targets: NDArray[Any]) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # 200 steps from a warm start are close enough for a choice by F1.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, targets)


def _choose_strength(matrix: Any, targets: NDArray[Any], task: Task, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(targets))
    held = min(_MOST_HELD_OUT, len(order) // 5)
    if held == 0:
        return 1.0
    out, used = order[:held], order[held : held + _MOST_TRIED]
    linear = _Linear(task.outputs, several=targets.ndim == 2)
    scores = []
    for strength in _STRENGTHS:
        coef, intercept = linear.fit(matrix[used], targets[used], strength)
        logits = np.asarray(matrix[out] @ coef + intercept, dtype=np.float32)
        scores.append(task.metrics(targets[out], logits)["macro_f1"])
    # The first of equals: the strongest regularisation.
    return _STRENGTHS[int(np.argmax(scores))]
