"""F1, precision, recall and confusion matrices in numpy. In: counts or 0/1 matrices. Out: numbers. Never imports torch.

Follows scikit-learn with ``zero_division=0``: a label that is never predicted has precision 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "balanced_weights", "confusion", "count_labels", "count_matrix", "f1_averages", "label_rows"]

Floats64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, predicted and true rows of each label, float64 [c]."""

    hits: Floats64
    """Rows with the label for which it was predicted (true positives)."""
    predicted: Floats64
    """Rows for which the label was predicted."""
    support: Floats64
    """Rows with the label."""

    @property
    def precision(self) -> Floats64:
        """Share of the rows predicted to have a label that have it, [c]."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Floats64:
        """Share of the rows with a label for which it was predicted, [c]."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> Floats64:
        """Harmonic mean of precision and recall, [c]."""
        return _ratio(2 * self.hits, self.predicted + self.support)


def _ratio(numerator: Floats64, denominator: Floats64) -> Floats64:
    result: Floats64 = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return result


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """Confusion matrix, int64 [c, c]: rows = true label, columns = prediction."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def count_labels(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> Counts:
    """Count rows per label for one label per row.

    Args:
        truth: true class indices, int64 [n].
        predicted: predicted class indices, int64 [n].
        labels: number of labels c.
    """
    table = confusion(truth, predicted, labels).astype(np.float64)
    return Counts(np.diag(table).copy(), table.sum(axis=0), table.sum(axis=1))


def count_matrix(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Counts:
    """Count rows per label for any number of labels per row; both arguments are bool [n, c]."""
    hits = (truth & predicted).sum(axis=0)
    return Counts(*(np.asarray(part, dtype=np.float64) for part in (hits, predicted.sum(axis=0), truth.sum(axis=0))))


def f1_averages(counts: Counts) -> dict[str, float]:
    """Return macro_f1, micro_f1 and weighted_f1; all 0 without rows.

    The macro average leaves out labels that occur in neither targets nor predictions: a split without a label says
    nothing about it. scikit-learn does so for one label per row; for a 0/1 matrix it counts such a label as 0.
    """
    f1 = counts.f1
    seen = (counts.predicted + counts.support) > 0
    denominator = counts.predicted.sum() + counts.support.sum()
    total = counts.support.sum()
    return {
        "macro_f1": float(f1[seen].mean()) if seen.any() else 0.0,
        "micro_f1": float(2 * counts.hits.sum() / denominator) if denominator else 0.0,
        "weighted_f1": float((f1 * counts.support).sum() / total) if total else 0.0,
    }


def label_rows(counts: Counts, labels: list[str]) -> list[tuple[str, float, float, float, int]]:
    """Return label, precision, recall, F1 and support (rows) of each label."""
    columns = zip(labels, counts.precision, counts.recall, counts.f1, counts.support, strict=True)
    return [(name, float(p), float(r), float(f), int(s)) for name, p, r, f, s in columns]


def balanced_weights(support: Floats64) -> NDArray[np.float32]:
    """Return weights [c] inversely proportional to the support, mean 1 over the rows; 1 for a label without rows."""
    present = support > 0
    weights = np.ones_like(support)
    weights[present] = support.sum() / (present.sum() * support[present]) if present.any() else 1.0
    return weights.astype(np.float32)
