"""F1 and accuracy of many runs under row weights, and bootstrap row weights. In: predictions. Out: arrays. NumPy only.

Scores equal those of scikit-learn with ``zero_division=0`` and ``sample_weight``, for thousands of weightings at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "Floats", "Labels", "WeightedScores", "Weights", "bootstrap_weights", "scores", "strata"]

METRICS = ("macro_f1", "micro_f1", "weighted_f1", "accuracy")
MIN_STRATUM_ROWS = 5
"""Labels with fewer rows share one stratum: a stratum of one row would never vary in the bootstrap and look certain."""

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Labels = NDArray[np.integer | np.bool_]


def scores(truth: Labels, predictions: Sequence[Labels], metric: str) -> Floats:
    """The metric of each run on all rows, float64 [runs]: ``observed`` of `resample`."""
    result: Floats = WeightedScores(truth, predictions, metric).scores(np.ones((1, len(truth)), dtype=np.float32))[0]
    return result


class WeightedScores:
    """Scores of runs under row weights.

    Only the misclassified rows of a run are stored: on all others its predictions equal the truth, whose weighted
    counts are computed once for all runs. That makes a replicate of a good model cheap.
    """

    def __init__(self, truth: Labels, runs: Sequence[Labels], metric: str) -> None:
        self.metric = metric
        labels = truth.shape[1] if truth.ndim > 1 else int(max(truth.max(), *(run.max() for run in runs))) + 1
        table = _one_hot(truth, labels)
        self.truth = table.astype(np.float32)
        self.errors = []
        for run in runs:
            predicted = _one_hot(run, labels)
            wrong = np.flatnonzero((predicted != table).any(axis=1))
            false_negatives, false_positives = table[wrong] & ~predicted[wrong], predicted[wrong] & ~table[wrong]
            self.errors.append((wrong, np.hstack([false_negatives, false_positives]).astype(np.float32)))

    def scores(self, weights: Weights) -> Floats:
        """The metric of each run under each weighting: weights [b, n] -> float64 [b, runs]."""
        support = (weights @ self.truth).astype(np.float64)
        total = weights.sum(axis=1, dtype=np.float64)
        return np.stack([self._score(weights[:, rows], kinds, support, total) for rows, kinds in self.errors], axis=1)

    def _score(self, weights: Weights, kinds: NDArray[np.float32], support: Floats, total: Floats) -> Floats:
        if self.metric == "accuracy":
            accuracy: Floats = 1.0 - weights.sum(axis=1, dtype=np.float64) / total
            return accuracy
        false_negatives, false_positives = np.split((weights @ kinds).astype(np.float64), 2, axis=1)
        true_positives = support - false_negatives
        denominator = true_positives + false_positives + support
        if self.metric == "micro_f1":
            return _ratio(2 * true_positives.sum(axis=1), denominator.sum(axis=1))
        f1 = _ratio(2 * true_positives, denominator)
        if self.metric == "weighted_f1":
            return _ratio((f1 * support).sum(axis=1), support.sum(axis=1))
        # The macro mean skips labels that neither truth nor predictions contain, as the task's metrics do.
        macro: Floats = f1.sum(axis=1) / np.maximum((denominator > 0).sum(axis=1), 1)
        return macro


def _one_hot(values: Labels, labels: int) -> NDArray[np.bool_]:
    return values.astype(np.bool_) if values.ndim > 1 else values[:, None] == np.arange(labels)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    result: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return result


def strata(truth: Labels) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Group rows by stratum.

    Returns:
        The order that puts the rows of a stratum side by side, and for each row in that order the first position of its
        stratum and the number of rows in it.
    """
    key = truth.astype(np.int64)
    if truth.ndim > 1:
        # By the rarest label of a row, like the splits; rows without a label form a stratum of their own.
        counts = np.where(truth.astype(np.bool_), truth.sum(axis=0), np.inf)
        key = np.where(np.isfinite(counts).any(axis=1), counts.argmin(axis=1), truth.shape[1])
    sizes = np.bincount(key)
    key = np.where(sizes[key] < MIN_STRATUM_ROWS, len(sizes), key)
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    return order, np.repeat(first, count).astype(np.int32), np.repeat(count, count).astype(np.float32)


def bootstrap_weights(
    rng: np.random.Generator, starts: NDArray[np.int32], sizes: NDArray[np.float32], count: int
) -> Weights:
    """Bootstrap weights: how often each row is drawn, with replacement within its stratum, float32 [count, n]."""
    rows = len(starts)
    # float32 rounding can yield exactly ``sizes``: clip, or a draw would land in the next stratum.
    within = np.minimum(rng.random((count, rows), dtype=np.float32) * sizes, sizes - 1).astype(np.int32)
    picked = within + starts + np.arange(count, dtype=np.int64)[:, None] * rows
    return np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float32)
