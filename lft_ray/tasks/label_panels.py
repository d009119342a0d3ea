"""Tables of label predictions for report and card. In: counts. Out: `Panel`. Pure."""

from collections.abc import Sequence

from lft_ray.records.panels import Panel, matrix_panel, score_panel
from lft_ray.tasks.scores import Counts, per_label

__all__ = ["confusion_panel", "label_panel"]


def label_panel(counts: Counts, labels: list[str]) -> Panel:
    """Precision, recall, F1 and rows of each label."""
    rows = per_label(counts, labels)
    scores = [(row["label"], row["precision"], row["recall"], row["f1"], row["support"]) for row in rows]
    return score_panel("Labels", "Label", scores)


def confusion_panel(counts: Sequence[Sequence[int]], labels: list[str]) -> Panel:
    """Counts [c][c] of each true label against each predicted one."""
    caption = "Rows: true label. Columns: predicted label. Shading: fraction of the row."
    return matrix_panel("Confusion matrix", caption, labels, counts)
