"""Read JSON lines and JSON arrays of objects. In: a path. Out: two columns with row numbers. Never guesses a type.

Numbers and booleans become the strings they are written as. NaN, duplicate keys, mixed label types and malformed lines
are errors with their row.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from lft_ray.data.findings import LISTED_ROWS, FileFindings
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.json_shapes import other_shape
from lft_ray.data.readers.table import FileColumns
from lft_ray.strict_json import NotFinite, RepeatedKeys, parse_marked
from lft_ray.texts import repaired

__all__ = ["read_json"]

_BLANK: dict[str, Any] = {}
"""Stands for a blank line, told apart from an empty object by identity."""
NAMED_ROWS = 100
"""Column names are collected from this many rows, since JSON objects may omit keys."""


class _Errors:
    """Bad rows by problem code: all are counted, only the first `LISTED_ROWS` of each are stored."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[int, str]]] = {}
        self.counts: dict[str, int] = {}

    def add(self, code: str, row: int, message: str) -> None:
        listed = self.rows.setdefault(code, [])
        self.counts[code] = self.counts.get(code, 0) + 1
        if len(listed) < LISTED_ROWS:
            listed.append((row, message))

    def report(self, findings: FileFindings) -> None:
        for code, listed in self.rows.items():
            summary, fix = _TEXTS[code]
            findings.error_rows(code, listed, summary=summary, fix=fix, more=self.counts[code] - len(listed))


_TEXTS = {
    "broken_json": ("not JSON", "write one object per line, such as {\"text\": \"...\", \"label\": \"...\"}"),
    "not_an_object": ("not JSON objects", "write one object per row, such as {\"text\": \"...\", \"label\": \"...\"}"),
    "duplicate_key": ("a key occurs twice", "remove one of them"),
    "missing_key": ("a key is missing", "write null where there is no text or label, or remove the row"),
    "nan_value": ("NaN or infinity", "write null, or remove the row"),
    "text_type": ("the text is not a string", "write the text as a string"),
    "label_type": ("the label has the wrong type", "write a string or a number; for several labels, a list of these"),
}  # fmt: skip
"""Problem code -> summary and fix."""


def read_json(context: ReadContext, *, is_array: bool) -> FileColumns | None:
    """Read the text and label columns of a JSON file.

    Args:
        context: file to read.
        is_array: whether the file is one array of objects; otherwise it has one object per line.

    Returns:
        The columns, or None if the file as a whole is unusable.
    """
    errors, columns = _Errors(), None
    if not is_array and (shape := other_shape(context)) is not None:
        context.findings.error("json_shape", shape[0], fix=shape[1])
        return None
    try:
        with context.open_text() as stream:
            keep_blank = context.wanted.only_text
            rows = _array_rows(stream.read(), errors) if is_array else _line_rows(stream, errors, keep_blank)
            columns = _columns(rows, context, errors)
    finally:
        # Also after a decoding error, which ends the reading: report the bad rows before it.
        errors.report(context.findings)
    return columns


def _line_rows(lines: Iterable[str], errors: _Errors, keep_blank: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    blank: list[int] = []
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            blank.append(number)
            continue
        if keep_blank:
            # Answers must match the lines of the file; blank lines at its end are none.
            yield from ((at, _BLANK) for at in blank)
        blank.clear()
        try:
            row = parse_marked(line.strip())
        except json.JSONDecodeError as error:
            errors.add("broken_json", number, f"not JSON: {error.msg} at column {error.pos + 1}")
            continue
        if _is_row(row, number, errors):
            yield number, row


def _array_rows(text: str, errors: _Errors) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = parse_marked(text.strip())
    except json.JSONDecodeError as error:
        errors.add("broken_json", error.lineno, f"not JSON: {error.msg} at column {error.colno}")
        return
    for number, row in enumerate(rows, start=1):
        if _is_row(row, number, errors):
            yield number, row


def _is_row(row: Any, number: int, errors: _Errors) -> bool:
    if isinstance(row, RepeatedKeys):
        errors.add("duplicate_key", number, f"key {row.key!r} occurs twice")
        return False
    if not isinstance(row, dict):
        errors.add("not_an_object", number, f"expected an object, got {_kind(row)}")
        return False
    return True


def _columns(rows: Iterator[tuple[int, dict[str, Any]]], context: ReadContext, errors: _Errors) -> FileColumns | None:
    first = list(islice(rows, NAMED_ROWS))
    if not first:
        if not errors.counts:
            context.findings.error("no_rows", "the file has no rows", fix=context.wanted.rows_fix)
        return None
    names = list(dict.fromkeys(chain.from_iterable(row for _, row in first)))
    positions = context.wanted.find(names, context.findings)
    if positions is None:
        return None
    label = None if context.wanted.only_text else names[positions[1]]
    builder = _Builder(names[positions[0]], label, errors)
    for number, row in chain(first, rows):
        builder.add(number, row)
    return builder.columns(context.findings)


class _Builder:
    """Builds the text and label columns row by row."""

    def __init__(self, text_column: str, label_column: str | None, errors: _Errors) -> None:
        self.text_column = text_column
        self.label_column = label_column
        self.errors = errors
        self.texts: list[str] = []
        self.labels: list[str | list[str] | None] = []
        self.rows: list[int] = []
        self.label_kinds: dict[str, int] = {}
        self.numeric_rows: list[int] = []

    def add(self, number: int, row: dict[str, Any]) -> None:
        missing = [name for name in (self.text_column, self.label_column) if name is not None and name not in row]
        if missing and row is not _BLANK:
            self.errors.add("missing_key", number, f"key {missing[0]!r} is missing")
            return
        text, label = row.get(self.text_column), row.get(self.label_column or "")
        if isinstance(text, NotFinite) or (isinstance(label, NotFinite) and self.label_column is not None):
            self.errors.add("nan_value", number, "NaN and infinity are not valid JSON")
            return
        kind = _kind(text)
        if kind not in ("a string", "an integer", "a number", "null"):
            self.errors.add("text_type", number, f"the text is {kind}")
            return
        if kind in ("an integer", "a number"):
            self.numeric_rows.append(number)
        if self._take_label(number, None if self.label_column is None else label):
            self.texts.append("" if text is None else str(text))
            self.rows.append(number)

    def _take_label(self, number: int, label: Any) -> bool:
        values = label if isinstance(label, list) else [label]
        kinds = {_kind(value) for value in values}
        bad = [kind for kind in kinds if kind in ("an object", "a list", "NaN")]
        if bad or (isinstance(label, list) and "null" in kinds):
            self.errors.add("label_type", number, f"the label is or contains {(bad or ['null'])[0]}")
            return False
        if label is None:
            self.labels.append(None)
            return True
        if any(isinstance(value, str) and repaired(value) != value.replace("\0", "") for value in values):
            self.errors.add("label_type", number, "the label holds half of a surrogate pair, which is no text")
            return False
        for kind in kinds:
            self.label_kinds.setdefault(f"a list of {kind}" if isinstance(label, list) else kind, number)
        names = [value if isinstance(value, str) else json.dumps(value) for value in values]
        self.labels.append(names if isinstance(label, list) else names[0])
        return True

    def columns(self, findings: FileFindings) -> FileColumns:
        if len(self.label_kinds) > 1:
            (kind, _), (other, row) = list(self.label_kinds.items())[:2]
            message = f"the label is {other} here and {kind} before"
            findings.error("mixed_types", message, row=row, fix="use one type for all labels")
        if self.numeric_rows:
            message = f"the text is a number in {len(self.numeric_rows):,} rows; read as strings"
            findings.warning("numeric_text", message, row=self.numeric_rows[0], count=len(self.numeric_rows))
        has_lists = any(isinstance(label, list) for label in self.labels)
        if has_lists:
            labels = [[label] if isinstance(label, str) else label for label in self.labels]
            column = pa.array(labels, pa.large_list(pa.large_string()))
        else:
            column = pa.array(self.labels, pa.large_string())
        return FileColumns(
            texts=self.texts,
            labels=column,
            row_numbers=np.array(self.rows, dtype=np.int64),
            text_column=self.text_column.strip(),
            label_column=(self.label_column or self.text_column).strip(),
        )


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false",
                              type(None): "null", list: "a list", NotFinite: "NaN"}  # fmt: skip
    return kinds.get(type(value), "an object")
