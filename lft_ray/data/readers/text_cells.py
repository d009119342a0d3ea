"""Columns of texts. In: cells of a file. Out: one string per row, empty where there is none. Never cleans a text.

Numbers are read as strings, with a warning.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lft_ray.data.readers.json_values import JsonCells, Refused, kind_name
from lft_ray.data.readers.table import Cells, FileColumns
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import Column
from lft_ray.tasks.findings import FileFindings
from lft_ray.texts import is_blank

__all__ = ["TextKind", "as_text", "is_scalar", "is_text"]


class TextKind:
    """One text per row; see `lft_ray.data.readers.kinds.Kind`."""

    def from_strings(self, cells: list[str]) -> Cells:
        """Return the cells."""
        return cells

    def json_cells(self, wanted: Column) -> JsonCells:
        """Start to collect strings."""
        return _JsonTexts(wanted.role)

    def from_arrow(
        self, wanted: Column, cells: pa.Array, class_names: list[str] | None, findings: FileFindings, option: str
    ) -> Cells | None:
        """Return strings, numbers and UTF-8 bytes as strings; other types are an error."""
        decoded = as_text(cells, findings)
        if decoded is None:
            return None
        cells = decoded
        if not is_scalar(cells.type) or pa.types.is_boolean(cells.type):
            message = f"the {wanted.role} column holds {cells.type}, expected strings"
            findings.error("text_type", message, row=1, fix=f"name another column with {option}NAME")
            return None
        if not is_text(cells.type):
            message = f"the {wanted.role} column holds {cells.type}; read as strings"
            findings.warning("numeric_text", message, row=1, count=len(cells))
        if pa.types.is_floating(cells.type):
            # NaN is a missing text, not the word.
            cells = cells.cast(pa.float32()) if pa.types.is_float16(cells.type) else cells
            cells = pc.if_else(pc.fill_null(pc.is_nan(cells), fill_value=False), pa.scalar(None, cells.type), cells)
        return [text if text is not None else "" for text in cells.cast(pa.large_string()).to_pylist()]

    def rows(
        self, wanted: Column, part: FileColumns, task: type[Task], findings: FileFindings
    ) -> tuple[list[Any] | None, str]:
        """Return the texts as they are."""
        return list(part.values[wanted.role]), ""

    def missing(self) -> str:
        """Return an empty text."""
        return ""

    def is_blank(self, value: str) -> bool:
        """Whether a text has no visible character."""
        return is_blank(value)

    def stored(self, values: list[str]) -> pa.Array:
        """Return a column of strings."""
        return pa.array(values, pa.large_string())


class _JsonTexts:
    def __init__(self, role: str) -> None:
        self.role = role
        self.texts: list[str] = []
        self.numeric_rows: list[int] = []

    def check(self, number: int, value: Any) -> Refused | None:
        kind = kind_name(value)
        if kind not in ("a string", "an integer", "a number", "null"):
            summary, fix = f"the {self.role} is not a string", f"write the {self.role} as a string"
            return Refused("text_type", f"the {self.role} is {kind}", summary, fix)
        if kind in ("an integer", "a number"):
            self.numeric_rows.append(number)
        return None

    def add(self, value: Any) -> None:
        self.texts.append("" if value is None else str(value))

    def cells(self, findings: FileFindings) -> Cells:
        if self.numeric_rows:
            message = f"the {self.role} is a number in {len(self.numeric_rows):,} rows; read as strings"
            findings.warning("numeric_text", message, row=self.numeric_rows[0], count=len(self.numeric_rows))
        return self.texts


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of strings, numbers or booleans."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(is_text(kind) or is_number or pa.types.is_boolean(kind))


def as_text(column: pa.Array, findings: FileFindings) -> pa.Array | None:
    """Read bytes as UTF-8: writers that know no strings (Impala, old Spark) store them so; None after an error."""
    if not _is_bytes(column.type):
        return column
    try:
        decoded = column.cast(pa.large_string())
    except pa.ArrowInvalid:
        message = f"the column holds {column.type} that is not UTF-8 text"
        findings.error("binary_column", message, fix="store it as strings, or name another column")
        return None
    message = f"a column holds {column.type}; read as UTF-8 text"
    findings.warning("binary_column", message, count=len(column), fix="store it as strings")
    return decoded


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
