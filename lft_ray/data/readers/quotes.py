"""Judge how the quotation marks of a CSV or TSV file are meant. In: records and their lines. Out: swallowed rows.

A quote that opens a field and closes lines later either holds a text of several lines, or is a character of the text
(inches, a quotation cut short) and swallows the rows up to the next quote. A record is suspected of the second when
its lines are rows by themselves: each has as many fields as the header, and its label is one of other rows.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Record", "plain_rows", "swallowed"]

_MOST_VALUES = 10_000
"""Distinct values of a column that are stored; a column with more names nothing."""
_ROWS_PER_VALUE = 2
"""Rows that a value of a naming column has on average, at least."""
_ROWLIKE_SHARE = 0.8
"""Share of the lines of a long record that must look like rows; of a record of up to 4 lines, all must."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that spans several lines.

    Attributes:
        row: line number of its start.
        lines: its lines, as they are in the file.
    """

    row: int
    lines: list[str]


def swallowed(
    lines: Iterable[str], spans: Sequence[tuple[int, int]], *, delimiter: str, width: int, texts_at: Collection[int]
) -> list[Record]:
    """Return the records of several lines whose lines look like rows.

    Args:
        lines: lines of the file, the header included.
        spans: first and last line number of each record of several lines, ascending.
        delimiter: delimiter of the file.
        width: number of columns.
        texts_at: positions of columns with texts, whose values name nothing.
    """
    records = [Record(first, []) for first, _ in spans]
    values: list[set[str]] = [set() for _ in range(width)]
    rows, at = 0, 0
    for number, line in enumerate(lines, start=1):
        while at < len(spans) and number > spans[at][1]:
            at += 1
        if at < len(spans) and number >= spans[at][0]:
            records[at].lines.append(line)
        elif number > 1 and len(fields := _fields(line, delimiter)) == width:
            rows += 1
            for known, value in zip(values, fields, strict=True):
                if len(known) <= _MOST_VALUES:
                    known.add(value)
    naming = {
        column: known
        for column, known in enumerate(values)
        if column not in texts_at and len(known) * _ROWS_PER_VALUE <= max(rows, 4) and len(known) <= _MOST_VALUES
    }
    return [record for record in records if width > 1 and _looks_like_rows(record.lines, naming, delimiter, width)]


def _fields(line: str, delimiter: str) -> list[str]:
    return [part.strip().strip('"') for part in line.rstrip("\r\n").split(delimiter)]


def _looks_like_rows(lines: list[str], naming: dict[int, set[str]], delimiter: str, width: int) -> bool:
    count = 0
    for line in lines:
        fields = _fields(line, delimiter)
        if len(fields) == width:
            # Texts hold commas, so a name must tell; they hardly ever hold tabs.
            count += delimiter == "\t" or any(fields[column] in known for column, known in naming.items())
    return count == len(lines) if len(lines) < 5 else count >= _ROWLIKE_SHARE * len(lines)


def plain_rows(lines: Iterable[str], delimiter: str, width: int) -> list[tuple[int, list[str]]] | None:
    """Read lines without any quoting: row numbers and fields, or None where a line has another number of fields.

    Args:
        lines: lines of the file, the header included.
        delimiter: delimiter of the file.
        width: number of columns.
    """
    rows = []
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if not text:
            continue
        fields = text.split(delimiter)
        if len(fields) != width:
            return None
        rows.append((number, fields))
    return rows
