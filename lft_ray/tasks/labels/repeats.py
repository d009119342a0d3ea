"""Find rows whose labels are missing or contradict each other. In: rows. Out: findings, and what was found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.columns import LABEL
from lft_ray.tasks.findings import LISTED_ROWS, Findings
from lft_ray.tasks.rows import CleanRows, RawTable, Repeats

__all__ = ["check_conflicts", "report_unlabelled"]

MAX_EMPTY_LABEL_SHARE = 0.01
"""Below this share rows without a label are dropped; from it on they are an error."""


def report_unlabelled(table: RawTable, split: str, is_empty: Sequence[bool], findings: Findings) -> None:
    """Report rows that have inputs and no label.

    Args:
        table: rows as read (n).
        split: name of the split.
        is_empty: which rows these are [n].
        findings: collects an error, or a warning where the rows are few enough to be dropped.
    """
    rows = [row for row, empty in enumerate(is_empty) if empty]
    if not rows:
        return
    share = len(rows) / len(is_empty)
    if share >= MAX_EMPTY_LABEL_SHARE:
        found = [(*table.origin(row), "the label is empty") for row in rows[: LISTED_ROWS + 1]]
        summary = f"the label is empty ({share:.1%} of {split}; less than {MAX_EMPTY_LABEL_SHARE:.0%} can be dropped)"
        fix = "label these rows or remove them; texts without any label need --set task.kind=multilabel"
        findings.error_rows("empty_label", found, summary=summary, fix=fix, more=len(rows) - len(found))
        return
    message = f"empty labels in {split}: {len(rows):,} ({share:.2%}); rows dropped"
    findings.warning("empty_label", message, at=table.origin(rows[0]), count=len(rows), fix="label or remove them")


def check_conflicts(rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
    """Warn of texts that occur with different labels; return the number of such texts."""
    labels = rows.values[LABEL]
    conflicting = [row for row in repeats.rows.tolist() if set(labels[row]) != set(labels[repeats.first[row]])]
    if not conflicting:
        return 0
    texts: NDArray[np.int64] = np.unique(repeats.first[conflicting])
    row = conflicting[0]
    earlier = int(repeats.first[row])
    message = (
        f"texts with conflicting labels: {len(texts):,} (this one: {_names(labels[row])} here, "
        f"{_names(labels[earlier])} in row {rows.origin(earlier)[1]})"
    )
    fix = "choose one label for each text"
    findings.warning("conflicting_labels", message, at=rows.origin(row), count=len(conflicting), fix=fix)
    return len(texts)


def _names(labels: list[str]) -> str:
    return ", ".join(map(repr, labels)) or "none"
