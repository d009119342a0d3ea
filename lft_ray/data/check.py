"""Check the rows of all splits together. In: raw tables. Out: clean rows, findings and facts. Costs no model.

`clean` drops what cannot be used, `check_labels` looks at the labels; here stand the checks over texts and splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.clean import clean
from lft_ray.data.findings import Findings
from lft_ray.data.labels import check_labels, check_unseen
from lft_ray.data.readers.table import CleanRows, RawTable
from lft_ray.records import Problem, Record
from lft_ray.tasks.base import Task

__all__ = ["Checked", "DataCard", "check"]

MAX_OVERLAP_SHARE = 0.01


class DataCard(Record):
    """What ``lft check`` shows of the data."""

    task_kind: str
    text_column: str
    label_column: str
    rows: dict[str, int]
    """Rows of each split as it will be used: after the sample and the carving."""
    label_counts: dict[str, dict[str, int]]
    """Split -> label -> rows, most frequent first."""
    words_quantiles: dict[str, float]
    """Whitespace words per train text: p50, p95, p99, max."""
    duplicates: int
    conflicts: int
    overlaps: dict[str, int]
    dropped: dict[str, int]
    """Split -> rows that have no text or no label."""
    carved: dict[str, float]
    seed: int
    source_files: dict[str, str]
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that are told and counted."""
        return [problem for problem in self.problems if problem.severity == "warning"]


@dataclass(slots=True)
class Checked:
    """What the check found out."""

    rows: dict[str, CleanRows]
    duplicates: int = 0
    """Train rows whose text (normalised) stands in an earlier row."""
    conflicts: int = 0
    """Train texts that stand with different labels."""
    overlaps: dict[str, int] = field(default_factory=dict)
    """Given split -> its rows whose text also stands in train (for test: in validation, too)."""


def check(
    tables: Mapping[str, RawTable], task: type[Task], *, splits: int, allow_overlap: bool, findings: Findings
) -> Checked:
    """Check all splits that were read.

    Args:
        tables: ``train`` and the splits that were given.
        task: says whether a row may have no label.
        splits: number of splits that train will be cut into, itself among them.
        allow_overlap: go on although more than 1% of a given split stands in train.
        findings: where errors and warnings go; reading problems are taken over first.
    """
    for table in tables.values():
        findings.extend(table.problems)
    allows_empty = task.allows_empty()
    rows = {
        split: clean(table, split, allows_empty=allows_empty, findings=findings)
        for split, table in tables.items()
        if table.texts
    }
    checked = Checked(rows)
    if "train" not in rows or not rows["train"].texts:
        if not findings.has_errors:
            findings.error("no_rows", "no train row can be used", fix="add rows with a text and a label")
        return checked
    train = rows["train"]
    check_labels(train, splits=splits, allows_empty=allows_empty, findings=findings)
    checked.duplicates, checked.conflicts = _check_repeats(train, findings)
    for split, other in rows.items():
        if split == "train":
            continue
        if not other.texts:
            findings.error("no_rows", f"no row of {split} can be used", file=other.raw.paths[0])
            continue
        check_unseen(train, other, findings)
        checked.overlaps[split] = _check_overlap(rows, split, allow_overlap=allow_overlap, findings=findings)
    return checked


def _check_repeats(rows: CleanRows, findings: Findings) -> tuple[int, int]:
    """Warn of equal texts; return how many rows repeat one, and how many texts have different labels."""
    _, first, group, sizes = np.unique(rows.keys, return_index=True, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((sizes[group] > 1) & (first[group] != np.arange(len(group))))
    if not len(repeated):
        return 0, 0
    conflicting = _conflicting(rows, first[group], repeated)
    at = rows.origin(int(repeated[0]))
    earlier = rows.origin(int(first[group][repeated[0]]))
    message = f"train rows that repeat an earlier text: {len(repeated):,} (this one: row {earlier[1]} of {earlier[0]})"
    fix = "kept, and kept in one split; remove them if they should not count twice"
    findings.warning("duplicate_text", message, at=at, count=len(repeated), fix=fix)
    if conflicting:
        row = conflicting[0]
        earlier_row = int(first[group][row])
        message = (
            f"texts that stand with different labels: {len({int(group[row]) for row in conflicting}):,} (this one: "
            f"{_names(rows.labels[row])} here, {_names(rows.labels[earlier_row])} in row {rows.origin(earlier_row)[1]})"
        )
        findings.warning(
            "conflicting_labels", message, at=rows.origin(row), count=len(conflicting), fix="decide for one label each"
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
    message = f"texts of {split} that also stand in {where}: {len(inside):,} ({share:.1%}); its score is too good"
    if share > MAX_OVERLAP_SHARE and not allow_overlap:
        fix = f"remove them from {where}, or --set data.allow_overlap=true"
        findings.error("overlap", message, file=at[0], row=at[1], fix=fix)
    else:
        findings.warning("overlap", message, at=at, count=len(inside), fix=f"remove them from {where}")
    return len(inside)
