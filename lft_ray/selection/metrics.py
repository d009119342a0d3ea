"""Scores of runs from row weights, and the weights of a bootstrap. In: answers. Out: arrays. Numpy only.

Scores are scikit-learn's with ``zero_division=0`` and ``sample_weight``, for thousands of weightings at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "Floats", "Labels", "WeightedScores", "Weights", "draw", "scores", "strata"]

METRICS = ("macro_f1", "micro_f1", "weighted_f1", "accuracy")
LEAST_STRATUM = 5
"""Labels with fewer rows are drawn together: a stratum of one row would never vary, and look certain."""

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Labels = NDArray[np.integer | np.bool_]


def scores(truth: Labels, answers: Sequence[Labels], metric: str) -> Floats:
    """The metric of each run on all rows, float64 [runs]: what `resample` calls observed."""
    found: Floats = WeightedScores(truth, answers, metric).scores(np.ones((1, len(truth)), dtype=np.float32))[0]
    return found


class WeightedScores:
    """Scores of runs from row weights. Only rows that a run got wrong change its counts: the rest is the truth."""

    def __init__(self, truth: Labels, runs: Sequence[Labels], metric: str) -> None:
        self.metric = metric
        # One label a row: a label that neither truth nor answers hold has no F1, as scikit-learn has it.
        self.only_seen = truth.ndim == 1
        labels = truth.shape[1] if truth.ndim > 1 else int(max(truth.max(), *(run.max() for run in runs))) + 1
        table = _table(truth, labels)
        self.truth = table.astype(np.float32)
        self.errors = []
        for run in runs:
            given = _table(run, labels)
            wrong = np.flatnonzero((given != table).any(axis=1))
            misses, extras = table[wrong] & ~given[wrong], given[wrong] & ~table[wrong]
            self.errors.append((wrong, np.hstack([misses, extras]).astype(np.float32)))

    def scores(self, weights: Weights) -> Floats:
        """The metric for each row of weights [b, n] and each run: [b, runs]."""
        support = (weights @ self.truth).astype(np.float64)
        total = weights.sum(axis=1, dtype=np.float64)
        return np.stack([self._score(weights[:, rows], kinds, support, total) for rows, kinds in self.errors], axis=1)

    def _score(self, weights: Weights, kinds: NDArray[np.float32], support: Floats, total: Floats) -> Floats:
        if self.metric == "accuracy":
            accuracy: Floats = 1.0 - weights.sum(axis=1, dtype=np.float64) / total
            return accuracy
        misses, extras = np.split((weights @ kinds).astype(np.float64), 2, axis=1)
        hits = support - misses
        below = hits + extras + support
        if self.metric == "micro_f1":
            return _ratio(2 * hits.sum(axis=1), below.sum(axis=1))
        f1 = _ratio(2 * hits, below)
        if self.metric == "weighted_f1":
            return _ratio((f1 * support).sum(axis=1), support.sum(axis=1))
        macro: Floats = f1.sum(axis=1) / ((below > 0).sum(axis=1) if self.only_seen else f1.shape[1])
        return macro


def _table(values: Labels, labels: int) -> NDArray[np.bool_]:
    return values.astype(np.bool_) if values.ndim > 1 else values[:, None] == np.arange(labels)


def _ratio(above: Floats, below: Floats) -> Floats:
    result: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return result


def strata(truth: Labels) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Order of rows with strata together, and for each row in that order where its stratum starts and its size."""
    key = truth.astype(np.int64)
    if truth.ndim > 1:
        # The rarest label of a row, as the splits are stratified; rows without a label are a stratum of their own.
        counts = np.where(truth.astype(np.bool_), truth.sum(axis=0), np.inf)
        key = np.where(np.isfinite(counts).any(axis=1), counts.argmin(axis=1), truth.shape[1])
    sizes = np.bincount(key)
    key = np.where(sizes[key] < LEAST_STRATUM, len(sizes), key)
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    return order, np.repeat(first, count).astype(np.int32), np.repeat(count, count).astype(np.float32)


def draw(rng: np.random.Generator, starts: NDArray[np.int32], sizes: NDArray[np.float32], count: int) -> Weights:
    """How often each row is drawn, with replacement within its stratum: float32 [count, n]."""
    rows = len(starts)
    within = np.minimum(rng.random((count, rows), dtype=np.float32) * sizes, sizes - 1).astype(np.int32)
    picked = within + starts + np.arange(count, dtype=np.int64)[:, None] * rows
    return np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float32)
