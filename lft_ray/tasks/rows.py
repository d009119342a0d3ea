"""Rows by role, as a task's checks see them: raw and clean rows of one split. Never reads or checks anything.

`Values` are the columns of n rows: role -> one value per row, of the type that the column's kind has (text: str; names:
list of str).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.records import Problem
from lft_ray.tasks.columns import Column, input_columns, truth_columns

__all__ = ["CleanRows", "RawTable", "Repeats", "Values"]

Values = Mapping[str, Sequence[Any]]
"""Role -> value of each row."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows of one split as read (n rows), before any is dropped."""

    columns: tuple[Column, ...]
    """Columns of the task, in its order."""
    values: dict[str, list[Any]]
    """Role -> value of each row [n]. A missing text is an empty string; a row without a label has an empty list."""
    names: dict[str, str]
    """Role -> name of its column in the files; empty where no file could be read."""
    paths: list[str]
    file_index: NDArray[np.int32]
    """Index into ``paths`` of each row, int32 [n]."""
    row_numbers: NDArray[np.int64]
    problems: list[Problem]
    files: dict[str, str]
    """File -> sha256 of its bytes (of the rows, for a hub data set)."""
    read_as: dict[str, str] = field(default_factory=dict)
    """File -> how it was read, where that is not plain from its name."""
    truth_is_read: bool = True
    """Whether the truth of every file could be read; otherwise its rows have none, and an error says why."""

    def __len__(self) -> int:
        return len(self.row_numbers)

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the row at ``index``."""
        return self.paths[int(self.file_index[index])], int(self.row_numbers[index])


@dataclass(frozen=True, slots=True)
class CleanRows:
    """Usable rows of one split (n rows)."""

    split: str
    values: dict[str, list[Any]]
    """Role -> value of each row [n]."""
    identity: list[str]
    """What makes two rows the same example, [n]: `Task.identity`, before case and spacing are evened out."""
    row_ids: NDArray[np.int64]
    """Position of each row in the raw table, int64 [n]."""
    keys: NDArray[np.uint64]
    """Hash of the normalised identity, uint64 [n]: equal for texts that differ only in case or spacing."""
    words: NDArray[np.int64]
    """Whitespace-separated words of each row's identity, int64 [n]."""
    raw: RawTable

    def __len__(self) -> int:
        return len(self.row_ids)

    def inputs(self) -> dict[str, list[Any]]:
        """Return the values that a model sees, by role in the task's order."""
        return {column.role: self.values[column.role] for column in input_columns(self.raw.columns)}

    def truth(self) -> dict[str, list[Any]]:
        """Return the values that a model is trained and judged by, by role in the task's order."""
        return {column.role: self.values[column.role] for column in truth_columns(self.raw.columns)}

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the clean row at ``index``."""
        return self.raw.origin(int(self.row_ids[index]))

    def take(self, split: str, positions: NDArray[np.int64]) -> "CleanRows":
        """Return the rows at some positions as a split named ``split``."""
        return CleanRows(
            split=split,
            values={role: [values[i] for i in positions] for role, values in self.values.items()},
            identity=[self.identity[i] for i in positions],
            row_ids=self.row_ids[positions],
            keys=self.keys[positions],
            words=self.words[positions],
            raw=self.raw,
        )


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows of a split whose identity occurs in an earlier row too."""

    rows: NDArray[np.int64]
    """The later rows, ascending."""
    first: NDArray[np.int64]
    """First row with the same identity, of every row of the split, int64 [n]."""
