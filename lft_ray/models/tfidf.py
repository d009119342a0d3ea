"""TF-IDF with logistic regression: the cheapest model of the ladder. Fitted with scikit-learn, run without it.

In: texts and targets, or a folder. Out: logits whose softmax (sigmoid for several labels) gives the probabilities of
the fitted model. A folder has ``vocabulary.json`` and ``linear.safetensors``, no pickle. Never imports torch.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import Truncated, Unread
from lft_ray.tasks.base import Task

__all__ = ["TfidfModel", "ngrams", "split_words"]

Floats = NDArray[np.float32]

VOCABULARY = "vocabulary.json"
LINEAR = "linear.safetensors"
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
"""A run of letters, digits and underscores, or a single Chinese or Japanese character: these scripts have no spaces."""
_MAX_TERMS = 100_000
"""AG News, 40,775 rows: 100,000 and 190,896 terms give the same accuracy, and each term costs a float32 per label."""
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Inverse regularisation strengths C to choose from."""
_MAX_HELD_OUT_ROWS = 5_000
_MAX_FIT_ROWS = 10_000
"""Rows used to fit each strength; with the held-out rows at most 15,000, however large the data."""
_TOLERANCE = 1e-5
"""scikit-learn's default of 1e-4 ends a warm start immediately: on AG News, C 10 and 30 took 0 iterations."""
_ABSENT_LOGIT = -12.0
"""Logit of a label without a single example: a probability of 6e-6."""


def split_words(text: str, max_length: int) -> list[str]:
    """Return the first ``max_length`` words of a text, lower-cased.

    As `Truncated` if there are more, as `Unread` if there is none. Words beyond the limit are not looked for: finding
    the 175,000 of 1 MiB takes 30 ms.
    """
    words = [match.group() for match in islice(_WORD.finditer(text.lower()), max_length + 1)]
    if not words:
        return Unread()
    return words if len(words) <= max_length else Truncated(words[:max_length])


def ngrams(words: Sequence[str]) -> list[str]:
    """Return the words and all pairs of adjacent words."""
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


@dataclass(frozen=True, slots=True, eq=False)
class TfidfModel:
    """A fitted model of d terms and c outputs.

    Attributes:
        vocabulary: term -> row of ``coef``.
        idf: inverse document frequencies, float32 [d].
        coef: weights, float32 [d, c].
        intercept: float32 [c].
        max_length: maximum number of words per text.
        strength: chosen inverse regularisation strength C.
    """

    vocabulary: dict[str, int]
    idf: Floats
    coef: Floats
    intercept: Floats
    max_length: int
    strength: float

    @property
    def outputs(self) -> int:
        """Number of outputs c."""
        return len(self.intercept)

    @classmethod
    def fit(
        cls, texts: Sequence[str], targets: NDArray[Any], task: Task, seed: int, *, max_length: int = 512
    ) -> "TfidfModel":
        """Fit on all texts, with the regularisation strength that scored best on a hold-out.

        Args:
            texts: n texts.
            targets: output of ``task.encode``: int64 [n], or float32 [n, c] of 0 and 1.
            task: gives the number of outputs and the metric (macro-F1) by which the strength is chosen.
            seed: random seed of the hold-out.
            max_length: maximum number of words per text.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        analyzer = partial(_terms, max_length=max_length)
        # Below 2,000 rows, terms seen once are a large share of the vocabulary: keep them.
        vectorizer = TfidfVectorizer(
            analyzer=analyzer,
            sublinear_tf=True,
            min_df=2 if len(texts) >= 2000 else 1,
            max_features=_MAX_TERMS,
            dtype=np.float32,
        )
        matrix = vectorizer.fit_transform(texts)
        strength = _choose_strength(matrix, targets, task, seed)
        linear = _Linear(task.outputs, multilabel=targets.ndim == 2)
        coef, intercept = linear.fit(matrix, targets, strength)
        vocabulary = {str(term): int(row) for term, row in vectorizer.vocabulary_.items()}
        return cls(vocabulary, vectorizer.idf_.astype(np.float32), coef, intercept, max_length, strength)

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """Split each text into words, at most ``max_length``."""
        return [split_words(text, self.max_length) for text in texts]

    def run(self, batch: Sequence[Sequence[str]]) -> Floats:
        """Logits [n, c] of texts already split into words."""
        return np.stack([self._logits_of(words) for words in batch])

    def logits(self, texts: Sequence[str]) -> Floats:
        """Logits [n, c] of texts."""
        return self.run(self.encode(texts))

    def _logits_of(self, words: Sequence[str]) -> Floats:
        known = self.vocabulary
        counts = Counter(known[term] for term in ngrams(words) if term in known)
        if not counts:
            return self.intercept
        rows = np.fromiter(counts, dtype=np.intp, count=len(counts))
        times = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
        values: Floats = (np.float32(1.0) + np.log(times)) * self.idf[rows]
        values = values / np.float32(math.sqrt(values @ values))
        logits: Floats = values @ self.coef[rows] + self.intercept
        return logits

    def save(self, folder: Path, *, model_size: str = "tfidf") -> None:
        """Write a folder that the sklearn engine can open; the folder is created if missing."""
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
        """Read a folder written by `save`.

        Raises:
            BundleError: files are missing, damaged or inconsistent with each other.
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
            raise BundleError(f"{folder}: the sizes in {VOCABULARY}, {LINEAR} and the engine card differ")
        return model


def _terms(text: str, *, max_length: int) -> list[str]:
    return ngrams(split_words(text, max_length))


class _Linear:
    """Logistic regression with warm start: one multinomial model, or one binary model per label."""

    def __init__(self, outputs: int, *, multilabel: bool) -> None:
        from sklearn.linear_model import LogisticRegression

        self._outputs = outputs
        self._multilabel = multilabel
        self._models = [
            LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=200)
            for _ in range(outputs if multilabel else 1)
        ]

    def fit(self, matrix: Any, targets: NDArray[Any], strength: float) -> tuple[Floats, Floats]:
        """Fit and return coef float32 [d, c] and intercept float32 [c]."""
        coef = np.zeros((matrix.shape[1], self._outputs), dtype=np.float32)
        intercept = np.full(self._outputs, _ABSENT_LOGIT, dtype=np.float32)
        for number, model in enumerate(self._models):
            own = targets[:, number] > 0.5 if self._multilabel else targets
            classes = np.unique(own)
            if len(classes) == 1:
                # Only one class was seen: predict it with certainty.
                place = number if self._multilabel else int(classes[0])
                intercept[place] = -_ABSENT_LOGIT if not self._multilabel or classes[0] else _ABSENT_LOGIT
                continue
            model.C = strength
            _fit_quietly(model, matrix, own)
            places, weights, offsets = _columns(model, number if self._multilabel else None)
            coef[:, places] = weights.T
            intercept[places] = offsets
        return coef, intercept


def _columns(model: Any, label: int | None) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Indices of the outputs of a fitted model, with their weights [k, d] and offsets [k]."""
    if label is not None:
        return np.array([label]), model.coef_, model.intercept_
    if len(model.classes_) == 2:
        # scikit-learn stores a single logit z for two labels; the softmax of (-z/2, z/2) is its sigmoid.
        halves = np.array([[-0.5], [0.5]])
        return model.classes_, halves * model.coef_, halves[:, 0] * model.intercept_
    return model.classes_, model.coef_, model.intercept_


def _fit_quietly(model: Any, matrix: Any, targets: NDArray[Any]) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # 200 iterations from a warm start are close enough to compare strengths by F1.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, targets)


def _choose_strength(matrix: Any, targets: NDArray[Any], task: Task, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(targets))
    held_out = min(_MAX_HELD_OUT_ROWS, len(order) // 5)
    if held_out == 0:
        return 1.0
    test, train = order[:held_out], order[held_out : held_out + _MAX_FIT_ROWS]
    linear = _Linear(task.outputs, multilabel=targets.ndim == 2)
    scores = []
    for strength in _STRENGTHS:
        coef, intercept = linear.fit(matrix[train], targets[train], strength)
        logits = np.asarray(matrix[test] @ coef + intercept, dtype=np.float32)
        scores.append(task.metrics(targets[test], logits)["macro_f1"])
    # argmax returns the first of equal scores: the strongest regularisation.
    return _STRENGTHS[int(np.argmax(scores))]
