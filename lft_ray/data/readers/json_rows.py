"""Read JSON lines and JSON arrays of objects. In: a path. Out: columns by role with row numbers. Never guesses a type.

Numbers and booleans become the strings they are written as. NaN, duplicate keys, mixed label types and malformed lines
are errors with their row.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np

from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.json_shapes import other_shape
from lft_ray.data.readers.json_values import Refused, kind_name
from lft_ray.data.readers.kinds import kind_of
from lft_ray.data.readers.squad import squad_rows
from lft_ray.data.readers.table import FileColumns
from lft_ray.strict_json import NotFinite, RepeatedKeys, parse_marked
from lft_ray.tasks.columns import Column
from lft_ray.tasks.findings import LISTED_ROWS, FileFindings

__all__ = ["read_json"]

_BLANK: dict[str, Any] = {}
"""Stands for a blank line, told apart from an empty object by identity."""
NAMED_ROWS = 100
"""Column names are collected from this many rows, since JSON objects may omit keys."""


class _Errors:
    """Bad rows by problem: all are counted, only the first `LISTED_ROWS` of each are stored."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, code: str, row: int, message: str) -> None:
        self.refuse(row, Refused(code, message, *_TEXTS[code]))

    def refuse(self, row: int, refused: Refused) -> None:
        problem = (refused.code, refused.summary, refused.fix)
        listed = self.rows.setdefault(problem, [])
        self.counts[problem] += 1
        if len(listed) < LISTED_ROWS:
            listed.append((row, refused.message))

    def report(self, findings: FileFindings) -> None:
        for (code, summary, fix), listed in self.rows.items():
            more = self.counts[code, summary, fix] - len(listed)
            findings.error_rows(code, listed, summary=summary, fix=fix, more=more)


_TEXTS = {
    "broken_json": ("not JSON", "write one object per line, such as {\"text\": \"...\", \"label\": \"...\"}"),
    "not_an_object": ("not JSON objects", "write one object per row, such as {\"text\": \"...\", \"label\": \"...\"}"),
    "duplicate_key": ("a key occurs twice", "remove one of them"),
    "missing_key": ("a key is missing", "write null where there is no text or label, or remove the row"),
    "nan_value": ("NaN or infinity", "write null, or remove the row"),
}  # fmt: skip
"""Problem code -> summary and fix, for what is wrong with a row rather than with one of its values."""


def read_json(context: ReadContext, *, is_array: bool) -> FileColumns | None:
    """Read the wanted columns of a JSON file.

    Args:
        context: file to read.
        is_array: whether the file is one array of objects; otherwise it has one object per line.

    Returns:
        The columns, or None if the file as a whole is unusable.
    """
    errors, columns = _Errors(), None
    if not is_array and (questions := squad_rows(context)) is not None:
        columns = _columns(iter(questions), context, errors)
        errors.report(context.findings)
        return columns and replace(columns, read_as="SQuAD's articles, a row for each question")
    if not is_array and (shape := other_shape(context)) is not None:
        context.findings.error("json_shape", shape[0], fix=shape[1])
        return None
    try:
        with context.open_text() as stream:
            keep_blank = context.wanted.to_answer
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
        errors.add("not_an_object", number, f"expected an object, got {kind_name(row)}")
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
    builder = _Builder(context.wanted.columns, {role: names[at] for role, at in positions.items()}, errors)
    for number, row in chain(first, rows):
        builder.add(number, row)
    return builder.columns(context.findings)


class _Builder:
    """Builds the wanted columns row by row."""

    def __init__(self, wanted: Sequence[Column], names: Mapping[str, str], errors: _Errors) -> None:
        self.names = names
        self.errors = errors
        self.rows: list[int] = []
        self.cells = {column.role: kind_of(column).json_cells(column) for column in wanted}
        self._columns = [(names[role], cells) for role, cells in self.cells.items()]

    def add(self, number: int, row: dict[str, Any]) -> None:
        missing = [name for name in self.names.values() if name not in row]
        if missing and row is not _BLANK:
            self.errors.add("missing_key", number, f"key {missing[0]!r} is missing")
            return
        for name, _ in self._columns:
            if isinstance(row.get(name), NotFinite):
                self.errors.add("nan_value", number, "NaN and infinity are not valid JSON")
                return
        for name, cells in self._columns:
            refused = cells.check(number, row.get(name))
            if refused is not None:
                self.errors.refuse(number, refused)
                return
        for name, cells in self._columns:
            cells.add(row.get(name))
        self.rows.append(number)

    def columns(self, findings: FileFindings) -> FileColumns:
        return FileColumns(
            values={role: cells.cells(findings) for role, cells in self.cells.items()},
            names={role: name.strip() for role, name in self.names.items()},
            row_numbers=np.array(self.rows, dtype=np.int64),
        )
