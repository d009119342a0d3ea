"""The shapes that rows have on their way in: one file's columns, one split's rows. Plain values, no behaviour."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.records import Problem

__all__ = ["CleanRows", "FileColumns", "RawTable"]


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Text and label column of one file (n rows)."""

    texts: list[str]
    """A missing text is an empty string."""
    labels: pa.Array
    """The raw label column, for ``Task.read_targets``."""
    row_numbers: NDArray[np.int64]
    """Where each row starts: the line of a CSV or JSONL file, else rows counted from 1."""
    text_column: str
    label_column: str


@dataclass(frozen=True, slots=True)
class RawTable:
    """The rows of one split as they were read (n rows), before any is dropped."""

    texts: list[str]
    labels: list[list[str]]
    """Trimmed label names a row; empty: the row has none."""
    paths: list[str]
    file_index: NDArray[np.int32]
    """Per row: which of ``paths`` it is from."""
    row_numbers: NDArray[np.int64]
    text_column: str
    label_column: str
    problems: list[Problem]
    files: dict[str, str]
    """File -> sha256 of its bytes (of the rows, for a hub data set)."""

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the row at ``index``."""
        return self.paths[int(self.file_index[index])], int(self.row_numbers[index])


@dataclass(frozen=True, slots=True)
class CleanRows:
    """The rows of one split that may be used (n rows)."""

    split: str
    texts: list[str]
    labels: list[list[str]]
    row_ids: NDArray[np.int64]
    """Position in the raw table of the split's own files."""
    keys: NDArray[np.uint64]
    """Hash of the normalised text: equal for texts that differ in case or spacing only."""
    words: NDArray[np.int64]
    """Whitespace words per text."""
    raw: RawTable

    def origin(self, index: int) -> tuple[str, int]:
        """Return file and row of the clean row at ``index``."""
        return self.raw.origin(int(self.row_ids[index]))

    def take(self, split: str, positions: NDArray[np.int64]) -> "CleanRows":
        """Return some of the rows, as the split of that name."""
        return CleanRows(
            split=split,
            texts=[self.texts[i] for i in positions],
            labels=[self.labels[i] for i in positions],
            row_ids=self.row_ids[positions],
            keys=self.keys[positions],
            words=self.words[positions],
            raw=self.raw,
        )
