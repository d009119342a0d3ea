"""Value types of the readers: columns of one file, raw and clean rows of one split. Never reads or checks anything."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.records import Problem

__all__ = ["CleanRows", "FileColumns", "RawTable"]


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Text and label column of one file (n rows)."""

    texts: list[str]
    """Texts [n]; a missing text is an empty string."""
    labels: pa.Array
    """The raw label column, for ``Task.read_targets``."""
    row_numbers: NDArray[np.int64]
    """Start of each row, int64 [n]: line number in a CSV or JSONL file, else row number from 1."""
    text_column: str
    label_column: str
    read_as: str = ""
    """How the file was read, where that is not plain from its name: quoting, cells that hold lists."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows of one split as read (n rows), before any is dropped."""

    texts: list[str]
    labels: list[list[str]]
    """Trimmed label names of each row; empty for a row without a label."""
    paths: list[str]
    file_index: NDArray[np.int32]
    """Index into ``paths`` of each row, int32 [n]."""
    row_numbers: NDArray[np.int64]
    text_column: str
    label_column: str
    problems: list[Problem]
    files: dict[str, str]
    """File -> sha256 of its bytes (of the rows, for a hub data set)."""
    read_as: dict[str, str] = field(default_factory=dict)
    """File -> how it was read; see `FileColumns`."""
    labels_are_read: bool = True
    """Whether the label cells of every file could be read; otherwise rows have no label, and an error says why."""

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the row at ``index``."""
        return self.paths[int(self.file_index[index])], int(self.row_numbers[index])


@dataclass(frozen=True, slots=True)
class CleanRows:
    """Usable rows of one split (n rows)."""

    split: str
    texts: list[str]
    labels: list[list[str]]
    row_ids: NDArray[np.int64]
    """Position of each row in the raw table, int64 [n]."""
    keys: NDArray[np.uint64]
    """Hash of the normalised text, uint64 [n]: equal for texts that differ only in case or spacing."""
    words: NDArray[np.int64]
    """Whitespace-separated words per text, int64 [n]."""
    raw: RawTable

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the clean row at ``index``."""
        return self.raw.origin(int(self.row_ids[index]))

    def take(self, split: str, positions: NDArray[np.int64]) -> "CleanRows":
        """Return the rows at some positions as a split named ``split``."""
        return CleanRows(
            split=split,
            texts=[self.texts[i] for i in positions],
            labels=[self.labels[i] for i in positions],
            row_ids=self.row_ids[positions],
            keys=self.keys[positions],
            words=self.words[positions],
            raw=self.raw,
        )
