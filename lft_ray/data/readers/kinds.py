"""How the cells of each kind of column are read. In: the kind of a `Column`. Out: its `Kind`. Never opens a file.

The one place that tells kinds apart: readers of files, cleaning and storing go by this table. A kind to come, such as
the turns of a chat, is one class here; JSON and Parquet hand it lists and objects as they are in the file.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa

from lft_ray.data.readers.json_values import JsonCells
from lft_ray.data.readers.name_cells import NamesKind
from lft_ray.data.readers.span_cells import SpansKind
from lft_ray.data.readers.table import Cells, FileColumns
from lft_ray.data.readers.text_cells import TextKind
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import Column
from lft_ray.tasks.findings import FileFindings

__all__ = ["KINDS", "Kind", "kind_of"]


class Kind(Protocol):
    """How one kind of column is read. Messages name the column by its role."""

    def from_strings(self, cells: list[str]) -> Cells:
        """Take the cells of a CSV or TSV file, as written."""

    def json_cells(self, wanted: Column) -> JsonCells:
        """Start to collect the values of a JSON file, row by row: anything that JSON has."""

    def from_arrow(
        self, wanted: Column, cells: pa.Array, class_names: list[str] | None, findings: FileFindings, option: str
    ) -> Cells | None:
        """Take an Arrow column of any type, lists and structs included; None after an error was added.

        Args:
            wanted: the column as the task wants it.
            cells: the column; dictionaries are decoded.
            class_names: names of the classes that its numbers stand for, where the file defines them.
            findings: collects errors and warnings of the file.
            option: how another column is named, up to its value.
        """

    def rows(
        self, wanted: Column, part: FileColumns, task: type[Task], findings: FileFindings
    ) -> tuple[list[Any] | None, str]:
        """Return the value of each row, and how cells were read if that is not plain; None after an error was added."""

    def missing(self) -> Any:
        """Return the value of a row that has none."""

    def is_blank(self, value: Any) -> bool:
        """Whether a value says nothing."""

    def stored(self, values: list[Any]) -> pa.Array:
        """Return input values as a column of a split file."""


KINDS: Mapping[str, Kind] = {"text": TextKind(), "names": NamesKind(), "spans": SpansKind()}


def kind_of(column: Column) -> Kind:
    """Return how a column is read.

    Raises:
        ValueError: the task asks for a kind that nothing can read: an error in the task, not in the data.
    """
    if column.kind not in KINDS:
        raise ValueError(f"column {column.role!r} has kind {column.kind!r}, expected one of {', '.join(KINDS)}")
    return KINDS[column.kind]
