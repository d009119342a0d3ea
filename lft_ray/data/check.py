"""Check all splits together. In: raw tables. Out: clean rows, findings and counts. Never needs a model.

`clean` drops unusable rows and `check_labels` checks the labels; this module checks repeated texts and overlap between
splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lft_ray.data.clean import clean
from lft_ray.data.findings import Findings
from lft_ray.data.fit import TokenFit
from lft_ray.data.labels import check_labels, check_unseen
from lft_ray.data.readers.table import CleanRows, RawTable
from lft_ray.data.spelling import one_spelling
from lft_ray.records import Problem, Record
from lft_ray.tasks.base import Task

__all__ = ["CheckResult", "DataCard", "check"]

_ORDER = ("train", "validation", "test")
MAX_OVERLAP_SHARE = 0.01
"""Share of a given split that may also occur in train; above it the check fails unless overlap is allowed."""


class DataCard(Record):
    """Summary of a data set, as ``lft check`` prints it."""

    task_kind: str
    text_column: str
    label_column: str
    rows: dict[str, int]
    """Rows of each split as used: after sampling and after validation and test are carved from train."""
    label_counts: dict[str, dict[str, int]]
    """Split -> label -> rows, most frequent first."""
    words_quantiles: dict[str, float]
    """Whitespace words per train text: p50, p95, p99, max."""
    duplicates: int
    conflicts: int
    overlaps: dict[str, int]
    dropped: dict[str, int]
    """Split -> rows dropped because they have no text or no label."""
    carved: dict[str, float]
    seed: int
    source_files: dict[str, str]
    read_as: dict[str, str] = Field(default_factory=dict)
    """File -> how its quoting or its label cells were read, where that is not plain from its name."""
    tokens: list[TokenFit] = Field(default_factory=list)
    """How each base reads the texts; only bases that are on this machine."""
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """Problems that stop a run."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Problems that are only reported and counted."""
        return [problem for problem in self.problems if problem.severity == "warning"]


@dataclass(slots=True)
class CheckResult:
    """Clean rows of each split, and counts of repeated texts."""

    rows: dict[str, CleanRows]
    duplicates: int = 0
    """Train rows whose normalised text also occurs in an earlier row."""
    conflicts: int = 0
    """Train texts that occur with different labels."""
    overlaps: dict[str, int] = field(default_factory=dict)
    """Given split -> number of its rows whose text also occurs in train (for test: in train or validation)."""


def check(
    tables: Mapping[str, RawTable], task: type[Task], *, splits: int, allow_overlap: bool, findings: Findings
) -> CheckResult:
    """Check every split that was read.

    Args:
        tables: raw rows of ``train`` and of the splits given as files.
        task: task class; decides whether a row may have no label.
        splits: number of splits that train will be divided into, train included.
        allow_overlap: report an overlap above 1% as a warning instead of an error.
        findings: collects errors and warnings; problems found while reading come first.
    """
    for table in tables.values():
        findings.extend(table.problems)
    allows_empty = task.allows_empty()
    rows = {
        # Labels that could not be read have an error of their own: their rows are no rows without a label.
        split: clean(table, split, allows_empty=allows_empty or not table.labels_are_read, findings=findings)
        for split, table in tables.items()
        if table.texts
    }
    rows = one_spelling({split: rows[split] for split in sorted(rows, key=_ORDER.index)}, findings)
    checked = CheckResult(rows)
    if "train" not in rows or not rows["train"].texts:
        if not findings.has_errors:
            findings.error("no_rows", "no train row is usable", fix="add rows with a text and a label")
        return checked
    train = rows["train"]
    labels_are_read = all(table.labels_are_read for table in tables.values())
    if labels_are_read:
        check_labels(train, splits=splits, allows_empty=allows_empty, findings=findings)
    checked.duplicates, checked.conflicts = _check_repeats(train, findings)
    for split, other in rows.items():
        if split == "train":
            continue
        if not other.texts:
            findings.error("no_rows", f"no row of {split} is usable", file=other.raw.paths[0])
            continue
        if labels_are_read:
            check_unseen(train, other, findings)
        checked.overlaps[split] = _check_overlap(rows, split, allow_overlap=allow_overlap, findings=findings)
    return checked


def _check_repeats(rows: CleanRows, findings: Findings) -> tuple[int, int]:
    """Warn about repeated texts; return the number of repeated rows and of texts with conflicting labels."""
    _, first, group, sizes = np.unique(rows.keys, return_index=True, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((sizes[group] > 1) & (first[group] != np.arange(len(group))))
    if not len(repeated):
        return 0, 0
    conflicting = _conflicting(rows, first[group], repeated)
    at = rows.origin(int(repeated[0]))
    earlier = rows.origin(int(first[group][repeated[0]]))
    message = (
        f"train rows that repeat an earlier text: {len(repeated):,} (this one repeats row {earlier[1]} of {earlier[0]})"
    )
    fix = "they are kept, always in the same split; remove them if they should not count twice"
    findings.warning("duplicate_text", message, at=at, count=len(repeated), fix=fix)
    if conflicting:
        row = conflicting[0]
        earlier_row = int(first[group][row])
        message = (
            f"texts with conflicting labels: {len({int(group[row]) for row in conflicting}):,} (this one: "
            f"{_names(rows.labels[row])} here, {_names(rows.labels[earlier_row])} in row {rows.origin(earlier_row)[1]})"
        )
        findings.warning(
            "conflicting_labels",
            message,
            at=rows.origin(row),
            count=len(conflicting),
            fix="choose one label for each text",
        )
    return len(repeated), len({int(group[row]) for row in conflicting})


def _conflicting(rows: CleanRows, first_of_row: NDArray[np.int64], repeated: NDArray[np.int64]) -> list[int]:
    return [row for row in repeated.tolist() if set(rows.labels[row]) != set(rows.labels[first_of_row[row]])]


def _names(labels: list[str]) -> str:
    return ", ".join(map(repr, labels)) or "none"


def _check_overlap(rows: Mapping[str, CleanRows], split: str, *, allow_overlap: bool, findings: Findings) -> int:
    earlier = {"validation": ("train",), "test": ("train", "validation")}[split]
    known = np.concatenate([rows[name].keys for name in earlier if name in rows])
    inside = np.flatnonzero(np.isin(rows[split].keys, known))
    if not len(inside):
        return 0
    share = len(inside) / len(rows[split].keys)
    at = rows[split].origin(int(inside[0]))
    where = " or ".join(name for name in earlier if name in rows)
    message = f"texts of {split} that also occur in {where}: {len(inside):,} ({share:.1%}); its score will be too high"
    if share > MAX_OVERLAP_SHARE and not allow_overlap:
        fix = f"remove them from {where}, or --set data.allow_overlap=true"
        findings.error("overlap", message, file=at[0], row=at[1], fix=fix)
    else:
        findings.warning("overlap", message, at=at, count=len(inside), fix=f"remove them from {where}")
    return len(inside)
