"""F1 and accuracy of label predictions under row weights, and the strata of a bootstrap. NumPy only.

In: what is known of each row, its true and its predicted labels. Out: a score of each run under each weighting. Scores
equal those of scikit-learn with ``zero_division=0`` and ``sample_weight``, for thousands of weightings at once.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.judging import Floats64, Weights

__all__ = ["METRIC_NAMES", "LabelMetric", "one_hot", "rarest_label", "row_spread"]

METRIC_NAMES = {"macro_f1": "macro-F1", "micro_f1": "micro-F1", "weighted_f1": "weighted F1", "accuracy": "accuracy"}
"""Key of each metric of labels -> its usual spelling; the first is the default."""


class LabelMetric:
    """A metric of several runs on the same rows.

    Only the misclassified rows of a run are stored: on all others its predictions equal the truth, whose weighted
    counts are computed once for all runs. That makes a replicate of a good model cheap.

    Args:
        metric: one of `METRIC_NAMES`.
        truth: labels of each row, bool [n, c].
        runs: predicted labels of each run, bool [n, c].

    Raises:
        ValueError: the metric is unknown.
    """

    def __init__(self, metric: str, truth: NDArray[np.bool_], runs: Iterable[NDArray[np.bool_]]) -> None:
        if metric not in METRIC_NAMES:
            raise ValueError(f"unknown metric {metric!r}: expected one of {', '.join(METRIC_NAMES)}")
        self.metric = metric
        self.truth = truth.astype(np.float32)
        self.errors = []
        for predicted in runs:
            wrong = np.flatnonzero((predicted != truth).any(axis=1))
            false_negatives, false_positives = truth[wrong] & ~predicted[wrong], predicted[wrong] & ~truth[wrong]
            self.errors.append((wrong, np.hstack([false_negatives, false_positives]).astype(np.float32)))

    def __call__(self, weights: Weights) -> Floats64:
        """The metric of each run under each weighting: weights [b, n] -> float64 [b, runs]."""
        support = (weights @ self.truth).astype(np.float64)
        total = weights.sum(axis=1, dtype=np.float64)
        return np.stack([self._score(weights[:, rows], kinds, support, total) for rows, kinds in self.errors], axis=1)

    def _score(self, weights: Weights, kinds: NDArray[np.float32], support: Floats64, total: Floats64) -> Floats64:
        if self.metric == "accuracy":
            accuracy: Floats64 = 1.0 - weights.sum(axis=1, dtype=np.float64) / total
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
        macro: Floats64 = f1.sum(axis=1) / np.maximum((denominator > 0).sum(axis=1), 1)
        return macro


def row_spread(metric: str, counts: Mapping[str, int], rows: int) -> float:
    """1 / the number of rows that a metric effectively rests on, from the rows of each label."""
    known = [max(1, count) for count in counts.values()]
    if metric != "macro_f1" or not known:
        return 1.0 / max(1, rows)
    # Never less than with balanced labels: texts with several labels have more labels than rows.
    return max(1.0 / max(1, rows), sum(1.0 / count for count in known) / len(known) ** 2)


def one_hot(labels: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    """Label indices [n] as bool [n, count]."""
    matrix: NDArray[np.bool_] = labels[:, None] == np.arange(count)
    return matrix


def rarest_label(truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Stratum of each row for several labels: its rarest one, as in the splits; rows without a label form one more."""
    counts = np.where(truth, truth.sum(axis=0), np.inf)
    strata: NDArray[np.int64] = np.where(np.isfinite(counts).any(axis=1), counts.argmin(axis=1), truth.shape[1])
    return strata


def _ratio(numerator: Floats64, denominator: Floats64) -> Floats64:
    result: Floats64 = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return result
