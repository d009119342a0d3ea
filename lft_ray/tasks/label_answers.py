"""Label predictions as others see them: on the wire, in a file, and beside those of another model. NumPy, pyarrow."""

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lft_ray.wire import LabelScore

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["label_mismatch", "largest_change", "ranked", "scores_by", "table"]

Floats = NDArray[np.float32]


def ranked(labels: list[str], scores: Floats) -> list[list[LabelScore]]:
    """Return the labels of each row of scores [n, c] by descending score; ties are in label order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return [
        [LabelScore(label=labels[position], score=float(row[position])) for position in positions]
        for row, positions in zip(scores, order, strict=True)
    ]


def scores_by(function: str, logits: Floats) -> Floats:
    """Convert logits [n, c] to scores [n, c] by ``softmax`` or ``sigmoid``; any other function leaves them."""
    if function == "sigmoid":
        # Clipped: exp of less than -88 overflows in fp32.
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0))), dtype=np.float32)
    if function == "softmax":
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)
    return logits


def largest_change(ours: Floats, theirs: Floats) -> NDArray[np.float64]:
    """Return the largest difference of a probability of each row, from probabilities [n, c]."""
    change: NDArray[np.float64] = np.abs(ours - theirs).max(axis=1).astype(np.float64)
    return change


def label_mismatch(ours: list[str], theirs: list[str]) -> str:
    """Return which labels a task lacks and adds beside another; empty if both have the same."""
    if set(ours) == set(theirs):
        return ""
    missing = ", ".join(sorted(set(theirs) - set(ours))) or "none"
    added = ", ".join(sorted(set(ours) - set(theirs))) or "none"
    return f"the labels {missing} missing and {added} added"


def table(labels: list[str], predicted: "dict[str, pa.Array]", scores: Floats, blank: NDArray[np.bool_]) -> "pa.Table":
    """Return predicted labels with their scores as a table, the names of the labels in its metadata.

    Args:
        labels: label names, in the order of the scores.
        predicted: the column of predicted labels, by its name.
        scores: probabilities, float32 [n, c].
        blank: rows without a prediction, bool [n].
    """
    import pyarrow as pa

    rows = [None if nothing else row for nothing, row in zip(blank, scores, strict=True)]
    columns = {
        **predicted,
        "score": pa.array(scores.max(axis=1), mask=blank),
        "scores": pa.array(rows, pa.list_(pa.float32())),
    }
    # One name a line, so that a name with a line break must not take two.
    lines = "\n".join(" ".join(name.splitlines()) for name in labels)
    metadata = {"labels": lines, "labels_json": json.dumps(labels, ensure_ascii=False)}
    return pa.table(columns).replace_schema_metadata(metadata)
