"""Read CSV and TSV strictly. In: a path. Out: columns by role with line numbers. Never guesses or converts a type.

Every value stays a string (``NA``, ``01`` and ``1e5`` are ordinary labels), every row must have as many fields as the
header, and every quote must be closed. Violations are errors with their row.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.kinds import kind_of
from lft_ray.data.readers.quotes import Record, plain_rows, swallowed
from lft_ray.data.readers.table import FileColumns
from lft_ray.tasks.columns import Column, input_columns
from lft_ray.tasks.findings import FileFindings

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["header_names", "read_delimited"]

_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_DELIMITER_FIX = {"\t": "rename the file to end in .tsv", ",": "rename the file to end in .csv"}


def read_delimited(context: ReadContext, *, delimiter: str) -> FileColumns | None:
    """Read the wanted columns of a CSV or TSV file; a UTF-8 byte order mark is dropped.

    Args:
        context: file to read.
        delimiter: comma or tab.

    Returns:
        The columns, or None if the file as a whole is unusable.
    """
    columns = None
    with _no_field_limit(), context.open_text(newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        header = _header(reader, delimiter, context)
        if header is not None:
            table = _read(reader, header, keep_blank=context.wanted.to_answer)
            suspects = _swallowed(table, header, delimiter, context)
            columns = _unquoted(table, suspects, header, delimiter, context)
            if columns is None:
                columns = _quoted(table, suspects, header, context)
    return columns


@contextmanager
def _no_field_limit() -> Iterator[None]:
    # The csv module fails at 131,072 characters per field; the data check reports texts above 1,000,000 itself.
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass(frozen=True, slots=True)
class _Header:
    """Column names as written in the file, the wanted columns, and role -> position."""

    names: list[str]
    wanted: tuple[Column, ...]
    positions: dict[str, int]

    @property
    def texts_at(self) -> set[int]:
        """Positions of the inputs, whose values name nothing."""
        return {self.positions[column.role] for column in input_columns(self.wanted)}


def header_names(reader: "Reader") -> list[str]:
    """Read the names of the columns, after blank lines and the line ``sep=,`` that Excel writes.

    Raises:
        StopIteration: the file has no such line.
    """
    while True:
        names = next(reader)
        if names and names != ["sep=", ""]:
            return names


def _header(reader: "Reader", delimiter: str, context: ReadContext) -> _Header | None:
    findings = context.findings
    try:
        names = header_names(reader)
    except StopIteration:
        findings.error("empty_file", "the file is empty", fix="use a file with a header and rows")
        return None
    except csv.Error as error:
        findings.error("open_quote", f"a quote in the header is not closed: {error}", row=1)
        return None
    if len(names) == 1:
        # A single column usually means another delimiter: name the most frequent one.
        others = [(names[0].count(other), other) for other in _NAMES if other != delimiter]
        count, other = max(others)
        if count:
            message = f"the delimiter looks like {_NAMES[other]} ({other!r}), expected {_NAMES[delimiter]}"
            findings.error("delimiter", message, row=1, fix=_DELIMITER_FIX.get(other, "save the file with commas"))
            return None
    positions = context.wanted.find(names, findings)
    if positions is not None:
        return _Header(names, context.wanted.columns, positions)
    inside = next((mark for mark in ";\t|" if mark != delimiter and any(mark in name for name in names)), None)
    if inside is not None:
        message = f"the header holds {_NAMES[inside]} ({inside!r}) inside a column name: is it the delimiter?"
        findings.error("delimiter", message, row=1, fix=_DELIMITER_FIX.get(inside, "save the file with commas"))
    return None


@dataclass(slots=True)
class _Table:
    """Rows of a file as they were read with quotes."""

    cells: dict[str, list[str]]
    """Role -> cells."""
    rows: list[int] = field(default_factory=list)
    ragged: list[tuple[int, int]] = field(default_factory=list)
    """Row and number of fields of each row that has too few or too many."""
    open_quote: tuple[int, str] | None = None
    """Row and reason of the quote that ended the reading."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """First and last line of each record that spans several lines."""

    @classmethod
    def of(cls, header: _Header) -> "_Table":
        return cls({role: [] for role in header.positions})

    def add(self, fields: list[str], row: int, header: _Header) -> None:
        for role, at in header.positions.items():
            self.cells[role].append(fields[at])
        self.rows.append(row)

    def columns(self, header: _Header, read_as: str = "") -> FileColumns:
        return FileColumns(
            values={column.role: kind_of(column).from_strings(self.cells[column.role]) for column in header.wanted},
            names={role: header.names[at].strip() for role, at in header.positions.items()},
            row_numbers=np.array(self.rows, dtype=np.int64),
            read_as=read_as,
        )


def _read(reader: "Reader", header: _Header, *, keep_blank: bool) -> _Table:
    width = len(header.names)
    table = _Table.of(header)
    start, blank = reader.line_num + 1, list[int]()
    try:
        for fields in reader:
            if not fields:
                blank.append(start)
            else:
                # Answers must match the lines of a file of texts to label; elsewhere blank lines are skipped.
                for at in blank if keep_blank else ():
                    table.add([""] * width, at, header)
                blank.clear()
                if len(fields) == width:
                    table.add(fields, start, header)
                else:
                    table.ragged.append((start, len(fields)))
                if reader.line_num > start:
                    table.spans.append((start, reader.line_num))
            start = reader.line_num + 1
    except csv.Error as error:
        table.open_quote = (start, str(error))
    return table


def _swallowed(table: _Table, header: _Header, delimiter: str, context: ReadContext) -> list[Record]:
    if not table.spans:
        return []
    with context.text(newline="") as lines:
        return swallowed(lines, table.spans, delimiter=delimiter, width=len(header.names), texts_at=header.texts_at)


def _unquoted(
    table: _Table, suspects: list[Record], header: _Header, delimiter: str, context: ReadContext
) -> FileColumns | None:
    """Read a TSV file without quoting, where that gives whole rows and quoting does not; else None.

    TSV as registered has no quoting: a quotation mark is a character like any other.
    """
    if delimiter != "\t" or not (table.open_quote or suspects or table.ragged):
        return None
    with context.text(newline="") as stream:
        rows = plain_rows(stream, delimiter, len(header.names))
    if rows is None or len(rows) < 2:
        return None
    plain = _Table.of(header)
    for row, fields in rows[1:]:
        plain.add(fields, row, header)
    first = table.open_quote[0] if table.open_quote else (suspects[0].row if suspects else None)
    message = (
        f"quotation marks are read as characters of the text: with quoting, rows would be lost "
        f"({len(plain.rows):,} rows now)"
    )
    fix = "if texts are quoted, double the quotation marks inside them and close each"
    context.findings.warning("quotes_are_text", message, row=first, count=max(len(suspects), 1), fix=fix)
    return plain.columns(header, "quotation marks are characters of the text")


def _quoted(table: _Table, suspects: list[Record], header: _Header, context: ReadContext) -> FileColumns:
    findings = context.findings
    if table.open_quote is not None:
        row, error = table.open_quote
        message = f"a quote opened in this row is not closed, or a quote inside a quoted field is not doubled ({error})"
        fix = 'close it; inside a quoted field write a quote twice: ""'
        findings.error("open_quote", message, row=row, fix=fix)
    if suspects:
        found = [
            (
                record.row,
                f"the quote opened in this row closes {len(record.lines) - 1} lines later, and the lines between look "
                f"like rows of their own, such as {record.lines[1].strip()[:60]!r}",
            )
            for record in suspects
        ]
        fix = 'write a quotation mark that belongs to the text twice, in a quoted field: """Great"" film"'
        findings.error_rows("swallowed_rows", found, summary="a quote that swallows the rows after it", fix=fix)
    _report_ragged(table.ragged, len(table.rows), len(header.names), findings)
    if not table.rows and not table.ragged:
        findings.error("no_rows", "the file has a header and no rows", fix=context.wanted.rows_fix)
    long = f"{len(table.spans):,} rows span several lines, in quoted fields" if table.spans else ""
    return table.columns(header, long)


def _report_ragged(ragged: list[tuple[int, int]], good: int, width: int, findings: FileFindings) -> None:
    if not ragged:
        return
    lengths = {length for _, length in ragged}
    if good == 0 and len(lengths) == 1:
        message = f"every row has {lengths.pop()} fields, but the header has {width}"
        fix = "name every column in the header, in order"
        findings.error("header_mismatch", message, row=ragged[0][0], fix=fix)
        return
    found = [(row, f"the row has {length} fields, but the header has {width}") for row, length in ragged]
    fix = "put quotes around a text that contains the delimiter or a line break (a lone CR also ends a row)"
    summary = f"too few or too many fields (the header has {width})"
    findings.error_rows("field_count", found, summary=summary, fix=fix)
