"""Read CSV and TSV strictly. In: a path. Out: two string columns with line numbers. Never guesses or converts a type.

Every value stays a string (``NA``, ``01`` and ``1e5`` are ordinary labels), every row must have as many fields as the
header, and every quote must be closed. Violations are errors with their row.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lft_ray.data.findings import FileFindings
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.table import FileColumns

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["read_delimited"]

_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def read_delimited(context: ReadContext, *, delimiter: str) -> FileColumns | None:
    """Read the text and label columns of a CSV or TSV file; a UTF-8 byte order mark is dropped.

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
            columns = _rows(reader, header, context.findings)
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
    """Column names as written in the file, and the positions of text and label."""

    names: list[str]
    text_at: int
    label_at: int


def _header(reader: "Reader", delimiter: str, context: ReadContext) -> _Header | None:
    findings = context.findings
    try:
        names = next(reader)
    except csv.Error as error:
        findings.error("open_quote", f"a quote in the header is not closed: {error}", row=1)
        return None
    if len(names) == 1:
        # A single column usually means another delimiter: name the most frequent one.
        others = [(names[0].count(other), other) for other in _NAMES if other != delimiter]
        count, other = max(others)
        if count:
            message = f"the delimiter looks like {_NAMES[other]} ({other!r}), expected {_NAMES[delimiter]}"
            fix = {"\t": "rename the file to end in .tsv", ",": "rename the file to end in .csv"}.get(
                other, "save the file with commas"
            )
            findings.error("delimiter", message, row=1, fix=fix)
            return None
    positions = context.wanted.find(names, findings)
    return None if positions is None else _Header(names, *positions)


def _rows(reader: "Reader", header: _Header, findings: FileFindings) -> FileColumns:
    width = len(header.names)
    texts: list[str] = []
    labels: list[str] = []
    rows: list[int] = []
    ragged: list[tuple[int, int]] = []
    start = reader.line_num + 1
    try:
        for fields in reader:
            if len(fields) == width:
                texts.append(fields[header.text_at])
                labels.append(fields[header.label_at])
                rows.append(start)
            elif fields:  # blank lines are skipped
                ragged.append((start, len(fields)))
            start = reader.line_num + 1
    except csv.Error as error:
        message = f"a quote opened in this row is not closed, or a quote inside a quoted field is not doubled ({error})"
        fix = 'close it; inside a quoted field write a quote twice: ""'
        findings.error("open_quote", message, row=start, fix=fix)
    _report_ragged(ragged, len(texts), width, findings)
    if not texts and not ragged:
        findings.error("no_rows", "the file has a header and no rows", fix="add labelled rows")
    return FileColumns(
        texts=texts,
        labels=pa.array(labels, pa.large_string()),
        row_numbers=np.array(rows, dtype=np.int64),
        text_column=header.names[header.text_at].strip(),
        label_column=header.names[header.label_at].strip(),
    )


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
