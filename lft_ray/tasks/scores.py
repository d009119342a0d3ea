"""F1 and its relatives in plain numpy. In: counts or 0/1 matrices. Out: numbers. Never sees a model or a text.

Conventions are scikit-learn's with ``zero_division=0``: a label nobody predicted has precision 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "balanced_weights", "confusion", "count_labels", "count_matrix", "f1_averages", "per_label"]

Floats64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Right and wrong answers of each label, float64 [c]."""

    hits: Floats64
    """Rows with the label that were given it."""
    predicted: Floats64
    support: Floats64

    @property
    def precision(self) -> Floats64:
        """Share of the rows given a label that have it, [c]."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Floats64:
        """Share of the rows with a label that were given it, [c]."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> Floats64:
        """Harmonic mean of precision and recall, [c]."""
        return _ratio(2 * self.hits, self.predicted + self.support)


def _ratio(above: Floats64, below: Floats64) -> Floats64:
    result: Floats64 = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return result


def confusion(truth: NDArray[np.int64], answer: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """Count answers by truth: int64 [c, c], rows = truth."""
    return np.bincount(truth * labels + answer, minlength=labels * labels).reshape(labels, labels)


def count_labels(truth: NDArray[np.int64], answer: NDArray[np.int64], labels: int) -> Counts:
    """Count for one label a row.

    Args:
        truth: int64 [n].
        answer: int64 [n].
        labels: c.
    """
    table = confusion(truth, answer, labels).astype(np.float64)
    return Counts(np.diag(table).copy(), table.sum(axis=0), table.sum(axis=1))


def count_matrix(truth: NDArray[np.bool_], answer: NDArray[np.bool_]) -> Counts:
    """Count for any number of labels a row; both are bool [n, c]."""
    hits = (truth & answer).sum(axis=0)
    return Counts(*(np.asarray(part, dtype=np.float64) for part in (hits, answer.sum(axis=0), truth.sum(axis=0))))


def f1_averages(counts: Counts, *, only_seen: bool) -> dict[str, float]:
    """Return macro_f1, micro_f1 and weighted_f1; all 0 without rows.

    Args:
        counts: per label.
        only_seen: leave labels out of the macro average that neither truth nor answers hold, as scikit-learn does
            for one label a row (for a 0/1 matrix it counts every column).
    """
    f1 = counts.f1
    seen = (counts.predicted + counts.support) > 0 if only_seen else np.ones(len(f1), dtype=np.bool_)
    below = counts.predicted.sum() + counts.support.sum()
    total = counts.support.sum()
    return {
        "macro_f1": float(f1[seen].mean()) if seen.any() else 0.0,
        "micro_f1": float(2 * counts.hits.sum() / below) if below else 0.0,
        "weighted_f1": float((f1 * counts.support).sum() / total) if total else 0.0,
    }


def per_label(counts: Counts, labels: list[str]) -> list[dict[str, Any]]:
    """Return one dictionary a label: label, precision, recall, f1, support (rows)."""
    columns = zip(labels, counts.precision, counts.recall, counts.f1, counts.support, strict=True)
    return [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in columns
    ]


def balanced_weights(support: Floats64) -> NDArray[np.float32]:
    """Return weights [c] inversely to the support, with mean 1 over the rows; 1 for a label without rows."""
    present = support > 0
    weights = np.ones_like(support)
    weights[present] = support.sum() / (present.sum() * support[present]) if present.any() else 1.0
    return weights.astype(np.float32)
