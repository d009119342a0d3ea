"""Columns of label names. In: cells of a file. Out: a raw Arrow column, then the trimmed names of each row.

Class numbers become class names where the file defines them. `lft_ray.data.readers.cells` reads cells that hold lists
or vectors; what the column means is up to the task's ``read_targets``.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lft_ray.data.readers.cells import NameCells, read_cells
from lft_ray.data.readers.json_values import JsonCells, Refused, kind_name
from lft_ray.data.readers.table import Cells, FileColumns
from lft_ray.data.readers.text_cells import as_text, is_scalar
from lft_ray.errors import DataError
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import Column
from lft_ray.tasks.findings import FileFindings
from lft_ray.texts import is_blank, repaired

__all__ = ["NamesKind"]


class NamesKind:
    """Names of labels, one or several per row; see `lft_ray.data.readers.kinds.Kind`."""

    def from_strings(self, cells: list[str]) -> Cells:
        """Return a column of strings."""
        return pa.array(cells, pa.large_string())

    def json_cells(self, wanted: Column) -> JsonCells:
        """Start to collect names and lists of names."""
        return _JsonNames(wanted.role)

    def from_arrow(
        self, wanted: Column, cells: pa.Array, class_names: list[str] | None, findings: FileFindings, option: str
    ) -> Cells | None:
        """Return strings, or lists of strings; whatever is no name, number or list of these is an error."""
        decoded = as_text(_plain_lists(cells), findings)
        if decoded is None:
            return None
        cells, kind, role = decoded, decoded.type, wanted.role
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        item = kind.value_type if is_list else kind
        if pa.types.is_null(kind):
            return pa.nulls(len(cells), pa.large_string())
        if not (is_scalar(item) or pa.types.is_null(item)):
            message = f"the {role} column holds {kind}, expected names, numbers or lists of these"
            findings.error("label_type", message, row=1, fix=f"name another column with {option}NAME")
            return None
        if class_names is not None and pa.types.is_integer(item):
            if not _check_class_numbers(cells, class_names, findings):
                return None
            return _named(cells, class_names, is_list=is_list)
        if pa.types.is_floating(kind):
            return _float_labels(cells, role, findings)
        return cells.cast(pa.large_list(pa.large_string())) if is_list else cells.cast(pa.large_string())

    def rows(
        self, wanted: Column, part: FileColumns, task: type[Task], findings: FileFindings
    ) -> tuple[list[Any] | None, str]:
        """Return the trimmed names of each row, each once."""
        found = NameCells(part.values[wanted.role])
        # A plug-in that parses cells itself decides what they mean.
        if task.read_targets.__module__.startswith("lft_ray.tasks."):
            found = read_cells(found.column, part.row_numbers, several=task.allows_empty(), findings=findings)
        if not found.is_usable:
            return None, ""
        try:
            names = task.read_targets(found.column)
        except DataError as error:
            findings.error("label_type", error.message, fix=error.fix)
            return None, ""
        return _trim(names, part, findings), found.read_as

    def missing(self) -> list[str]:
        """Return no names."""
        return []

    def is_blank(self, value: list[str]) -> bool:
        """Whether there is no name."""
        return not value

    def stored(self, values: list[list[str]]) -> pa.Array:
        """Return a column of lists of strings."""
        return pa.array(values, pa.large_list(pa.large_string()))


class _JsonNames:
    def __init__(self, role: str) -> None:
        self.role = role
        self.names: list[str | list[str] | None] = []
        self.kinds: dict[str, int] = {}

    def check(self, number: int, value: Any) -> Refused | None:
        items = value if isinstance(value, list) else [value]
        kinds = {kind_name(item) for item in items}
        bad = [kind for kind in kinds if kind in ("an object", "a list", "NaN")]
        if bad or (isinstance(value, list) and "null" in kinds):
            return self._refused(f"the {self.role} is or contains {(bad or ['null'])[0]}")
        if value is None:
            return None
        if any(isinstance(item, str) and repaired(item) != item.replace("\0", "") for item in items):
            return self._refused(f"the {self.role} holds half of a surrogate pair, which is no text")
        for kind in kinds:
            self.kinds.setdefault(f"a list of {kind}" if isinstance(value, list) else kind, number)
        return None

    def _refused(self, message: str) -> Refused:
        fix = "write a string or a number; for several labels, a list of these"
        return Refused("label_type", message, f"the {self.role} has the wrong type", fix)

    def add(self, value: Any) -> None:
        if value is None:
            self.names.append(None)
            return
        self.names.append([_name(item) for item in value] if isinstance(value, list) else _name(value))

    def cells(self, findings: FileFindings) -> Cells:
        if len(self.kinds) > 1:
            (kind, _), (other, row) = list(self.kinds.items())[:2]
            message = f"the {self.role} is {other} here and {kind} before"
            findings.error("mixed_types", message, row=row, fix=f"use one type for all {self.role}s")
        if any(isinstance(names, list) for names in self.names):
            lists = [[names] if isinstance(names, str) else names for names in self.names]
            return pa.array(lists, pa.large_list(pa.large_string()))
        return pa.array(self.names, pa.large_string())


def _name(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item)


def _trim(rows: list[list[str]], part: FileColumns, findings: FileFindings) -> list[list[str]]:
    trimmed: dict[str, str] = {}
    padded: list[int] = []
    result: list[list[str]] = []
    for index, names in enumerate(rows):
        for name in names:
            if name not in trimmed:
                trimmed[name] = name.strip()
        # One string object per label rather than per row: a million rows share a few label names.
        clean = [trimmed[name] for name in names]
        if clean != names:
            padded.append(index)
        result.append(list(dict.fromkeys(name for name in clean if not is_blank(name))))
    if padded:
        first = padded[0]
        name = next(name for name in rows[first] if name != trimmed[name])
        message = f"label {name!r} has surrounding spaces, trimmed"
        row = int(part.row_numbers[first])
        findings.warning("padded_label", message, row=row, count=len(padded), fix="remove the spaces")
    return result


def _float_labels(column: pa.Array, role: str, findings: FileFindings) -> pa.Array | None:
    """Read floats as labels: NaN is a missing label, and whole numbers are written without a fraction.

    Class numbers become floats where a label is missing (pandas stores such a column so).
    """
    values = column.cast(pa.float64()) if pa.types.is_float16(column.type) else column
    infinite = np.flatnonzero(pc.fill_null(pc.is_inf(values), fill_value=False).to_numpy(zero_copy_only=False))
    if len(infinite):
        rows = [(int(row) + 1, f"the {role} is {values[int(row)].as_py()}") for row in infinite]
        fix = "write null for a row without a label, or remove the row"
        findings.error_rows("infinite_label", rows, summary=f"the {role} is infinite", fix=fix)
        return None
    is_nan = pc.fill_null(pc.is_nan(values), fill_value=False)
    values = pc.if_else(is_nan, pa.scalar(None, values.type), values)
    if nans := pc.sum(is_nan).as_py():
        row = int(np.argmax(is_nan.to_numpy(zero_copy_only=False))) + 1
        message = f"labels that are NaN: {nans:,}; read as missing"
        findings.warning("nan_label", message, row=row, count=nans, fix="write null, or remove these rows")
    if pc.all(pc.equal(pc.floor(values), values)).as_py() and (pc.max(pc.abs(values)).as_py() or 0) < 2**53:
        message = f"the {role} column holds {column.type} with whole numbers; read as whole numbers, such as 1 for 1.0"
        findings.warning(
            "float_label_column", message, count=len(column), fix="store the labels as strings or integers"
        )
        return values.cast(pa.int64()).cast(pa.large_string())
    return values.cast(pa.large_string())


def _plain_lists(column: pa.Array) -> pa.Array:
    """Turn list views, and lists of dictionary-encoded or binary items, into lists of plain items."""
    kind = column.type
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if not is_view and not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        return column
    item = kind.value_type.value_type if pa.types.is_dictionary(kind.value_type) else kind.value_type
    if not is_view and item == kind.value_type:
        return column
    # Row by row: Arrow 26's cast from a view loses the rows after a null.
    return pa.array(column.to_pylist(), pa.large_list(item))


def _check_class_numbers(column: pa.Array, class_names: list[str], findings: FileFindings) -> bool:
    """Refuse class numbers without a name: as rows without a label, a few of them would be dropped."""
    unknown = [number for number in _flat(column).unique().to_pylist() if not _is_class(number, len(class_names))]
    if not unknown:
        return True
    rows = []
    for row, value in enumerate(column.to_pylist(), start=1):
        bad = [n for n in (value if isinstance(value, list) else [value]) if not _is_class(n, len(class_names))]
        if bad:
            rows.append((row, f"the class number is {bad[0]}, but the file names {len(class_names)} classes, from 0"))
    fix = "write the file again with all class names, or with the names of labels instead of numbers"
    findings.error_rows("class_number", rows, summary="a class number without a name", fix=fix)
    return False


def _flat(column: pa.Array) -> pa.Array:
    return column.flatten() if pa.types.is_nested(column.type) else column


def _is_class(number: int | None, count: int) -> bool:
    return number is None or -1 <= number < count


def _named(column: pa.Array, class_names: list[str], *, is_list: bool) -> pa.Array:
    """Replace class numbers by names; -1 (as in unlabelled hub test splits) and null mean no label."""

    def name(number: int | None) -> str | None:
        return class_names[number] if number is not None and 0 <= number < len(class_names) else None

    if not is_list:
        # The entry behind the last name is null: numbers out of range map to it.
        lookup = pa.array([*class_names, None], pa.large_string())
        inside = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(class_names)))
        return lookup.take(pc.fill_null(pc.if_else(inside, column, len(class_names)), len(class_names)))
    rows = [[name(number) for number in numbers or []] for numbers in column.to_pylist()]
    return pa.array(rows, pa.large_list(pa.large_string()))
