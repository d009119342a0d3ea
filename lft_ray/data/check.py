"""Check all splits together. In: raw tables. Out: clean rows, findings and counts. Never needs a model.

`clean` drops unusable rows and the task checks its truth; this module checks repeated texts and overlap between splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field, computed_field

from lft_ray.data.clean import clean
from lft_ray.data.fit import TokenFit
from lft_ray.records import Problem, Record
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import LABEL, TEXT
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.rows import CleanRows, RawTable, Repeats

__all__ = ["CheckResult", "DataCard", "check"]

_ORDER = ("train", "validation", "test")
MAX_OVERLAP_SHARE = 0.01
"""Share of a given split that may also occur in train; above it the check fails unless overlap is allowed."""


class DataCard(Record):
    """Summary of a data set, as ``lft check`` prints it."""

    task_kind: str
    columns: dict[str, str]
    """Role -> name of its column; empty names where no file could be read."""
    rows: dict[str, int]
    """Rows of each split as used: after sampling and after validation and test are carved from train."""
    label_counts: dict[str, dict[str, int]]
    """Split -> group that the task counts, such as a label -> rows, most frequent first."""
    words_quantiles: dict[str, float]
    """Words per train text, by `lft_ray.scripts.count_words`: p50, p95, p99, max."""
    duplicates: int
    conflicts: int
    overlaps: dict[str, int]
    dropped: dict[str, int]
    """Split -> rows dropped because they lack an input, such as the text, or the truth, such as the label."""
    carved: dict[str, float]
    seed: int
    source_files: dict[str, str]
    read_as: dict[str, str] = Field(default_factory=dict)
    """File -> how its quoting or its label cells were read, where that is not plain from its name."""
    tokens: list[TokenFit] = Field(default_factory=list)
    """How each base reads the texts; only bases that are on this machine."""
    problems: list[Problem]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text_column(self) -> str:
        """Name of the column in the role ``text``; empty where the task has none."""
        return self.columns.get(TEXT.role, "")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label_column(self) -> str:
        """Name of the column in the role ``label``; empty where the task has none."""
        return self.columns.get(LABEL, "")

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
    """Train texts that occur with different truth, such as other labels."""
    overlaps: dict[str, int] = field(default_factory=dict)
    """Given split -> number of its rows whose text also occurs in train (for test: in train or validation)."""


def check(
    tables: Mapping[str, RawTable], task: type[Task], *, splits: int, allow_overlap: bool, findings: Findings
) -> CheckResult:
    """Check every split that was read.

    Args:
        tables: raw rows of ``train`` and of the splits given as files.
        task: task class; checks what is its own.
        splits: number of splits that train will be divided into, train included.
        allow_overlap: report an overlap above 1% as a warning instead of an error.
        findings: collects errors and warnings; problems found while reading come first.
    """
    for table in tables.values():
        findings.extend(table.problems)
    rows = {split: clean(table, split, task=task, findings=findings) for split, table in tables.items() if len(table)}
    rows = task.unify({split: rows[split] for split in sorted(rows, key=_ORDER.index)}, findings)
    checked = CheckResult(rows)
    if "train" not in rows or not len(rows["train"]):
        if not findings.has_errors:
            needed = " and ".join(f"a {column.role}" for column in task.columns)
            findings.error("no_rows", "no train row is usable", fix=f"add rows with {needed}")
        return checked
    train = rows["train"]
    truth_is_read = all(table.truth_is_read for table in tables.values())
    if truth_is_read:
        task.check(train, splits=splits, findings=findings)
    checked.duplicates, checked.conflicts = _check_repeats(train, task, findings)
    for split, other in rows.items():
        if split == "train":
            continue
        if not len(other):
            findings.error("no_rows", f"no row of {split} is usable", file=other.raw.paths[0])
            continue
        if truth_is_read:
            task.check_other(train, other, findings)
        checked.overlaps[split] = _check_overlap(rows, split, allow_overlap=allow_overlap, findings=findings)
    return checked


def _check_repeats(rows: CleanRows, task: type[Task], findings: Findings) -> tuple[int, int]:
    """Warn about repeated texts; return the number of repeated rows and of texts with conflicting truth."""
    _, first, group, sizes = np.unique(rows.keys, return_index=True, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((sizes[group] > 1) & (first[group] != np.arange(len(group))))
    if not len(repeated):
        return 0, 0
    at = rows.origin(int(repeated[0]))
    earlier = rows.origin(int(first[group][repeated[0]]))
    message = (
        f"train rows that repeat an earlier text: {len(repeated):,} (this one repeats row {earlier[1]} of {earlier[0]})"
    )
    fix = "they are kept, always in the same split; remove them if they should not count twice"
    findings.warning("duplicate_text", message, at=at, count=len(repeated), fix=fix)
    return len(repeated), task.check_repeats(rows, Repeats(repeated, first[group]), findings)


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
