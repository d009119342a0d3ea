"""How predictions are scored, whatever they are: row scores, and metrics as functions of weighted row scores.

A metric is computed from what is known of each row, so that it can be computed of any weighting of the rows: the paired
bootstrap, the intervals and the gates ask no task what its metric is. `WeightedMean` and `WeightedRatio` serve metrics
that are means or ratios of a column; `lft_ray.tasks.label_metrics` has those of labels. NumPy only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Answers", "Floats64", "MetricOf", "RowScores", "WeightedMean", "WeightedMetric", "WeightedRatio", "Weights",
]  # fmt: skip

Answers = NDArray[Any]
"""Predictions of n rows, of the task's own kind: its first axis is the rows, and nobody else reads it."""
RowScores = NDArray[Any]
"""What a metric needs to know of each row, [n, k]."""
Floats64 = NDArray[np.float64]
Weights = NDArray[np.float32]
"""Row weights, float32 [b, n]."""
WeightedMetric = Callable[[Weights], Floats64]
"""Metric of several runs on the same rows: weights [b, n] -> float64 [b, runs]."""
MetricOf = Callable[[Sequence[RowScores]], WeightedMetric]
"""Prepares a metric for the row scores of several runs."""


class WeightedMean:
    """Mean of one column of row scores, such as a token F1 or an exact match.

    Args:
        runs: row scores of each run, [n, k].
        column: the column.
    """

    def __init__(self, runs: Sequence[RowScores], column: int = 0) -> None:
        self.values = np.stack([run[:, column] for run in runs], axis=1).astype(np.float32)

    def __call__(self, weights: Weights) -> Floats64:
        """Means under each weighting, float64 [b, runs]."""
        total = weights.sum(axis=1, dtype=np.float64)[:, None]
        result: Floats64 = (weights @ self.values).astype(np.float64) / np.maximum(total, 1e-12)
        return result


class WeightedRatio:
    """Sum of one column over the sum of another, such as loss over tokens.

    Args:
        runs: row scores of each run, [n, k].
        numerator: column of the numerator.
        denominator: column of the denominator.
    """

    def __init__(self, runs: Sequence[RowScores], numerator: int, denominator: int) -> None:
        self.over, self.under = (
            np.stack([run[:, column] for run in runs], axis=1).astype(np.float64) for column in (numerator, denominator)
        )

    def __call__(self, weights: Weights) -> Floats64:
        """Ratios under each weighting, float64 [b, runs]; 0 where the denominator is 0."""
        wide = weights.astype(np.float64)
        over, under = wide @ self.over, wide @ self.under
        result: Floats64 = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
        return result
