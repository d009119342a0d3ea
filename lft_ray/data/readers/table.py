"""Value type of the readers: the columns of one file by role. Never reads or checks anything."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["Cells", "FileColumns"]

Cells: TypeAlias = list[Any] | pa.Array
"""The cells of a column as its kind keeps them: texts as list[str], names as the raw Arrow column."""


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Columns of one file (n rows)."""

    values: dict[str, Cells]
    """Role -> cells [n], in the order of the task's columns."""
    names: dict[str, str]
    """Role -> name of its column in this file, trimmed."""
    row_numbers: NDArray[np.int64]
    """Start of each row, int64 [n]: line number in a CSV or JSONL file, else row number from 1."""
    read_as: str = ""
    """How the file was read, where that is not plain from its name: quoting, cells that hold lists."""
