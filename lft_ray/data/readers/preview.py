"""Look at all columns of a file. In: a path. Out: a sample of every column, spread over the whole file.

For `lft init`, which chooses columns and encoding by what the file holds. Reads every row of CSV and JSON, since files
are often sorted by label, but keeps at most `KEPT_ROWS`. Never reports rows that cannot be read: the check does.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from lft_ray.data.readers.columnar import class_names_of, parquet_source
from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.decoding import find_bad_byte, marked_encoding
from lft_ray.data.readers.delimited import header_names
from lft_ray.data.readers.encodings import high_lines, likely_encodings
from lft_ray.data.readers.foreign import foreign
from lft_ray.data.readers.json_shapes import other_shape
from lft_ray.data.readers.packed import PackedError, check_packed, open_binary
from lft_ray.data.readers.sniff import Format, sniff
from lft_ray.data.readers.squad import squad_rows
from lft_ray.errors import DataError
from lft_ray.tasks.findings import Findings

__all__ = ["KEPT_ROWS", "Preview", "preview"]

KEPT_ROWS = 20_000
"""Rows kept, evenly spaced: enough to count labels and repeats."""
_HEAD = 65_536
_NAMED_ROWS = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """A file as it looks.

    Attributes:
        path: path of the file.
        encoding: encoding that reads it.
        encoding_told: why, where it is not UTF-8; else empty.
        columns: name -> values of the kept rows, as the file holds them: strings, numbers, lists, None.
        rows: rows of the whole file.
    """

    path: Path
    encoding: str
    encoding_told: str
    columns: Mapping[str, Sequence[Any]]
    rows: int


def preview(path: Path, encoding: str | None = None) -> Preview:
    """Read a sample of every column.

    Args:
        path: CSV, TSV, JSON or Parquet file, packed or not.
        encoding: encoding of the file; None: what it looks like.

    Raises:
        DataError: the file cannot be read, or is text in no encoding known here; file, line and byte are named.
    """
    findings = Findings()
    try:
        check_packed(path)
        chosen, told = (encoding, "") if encoding else _encoding_of(path)
        kind = sniff(path, chosen, findings.of(str(path)))
        if kind is None:
            problem = findings.problems[0]
            raise DataError(f"{path}: {problem.message}", fix=problem.fix)
        rows, names = _rows(ReadContext(path, chosen, WantedColumns(()), findings.of(str(path))), kind)
    except PackedError as error:
        raise DataError(f"{path}: {error}", fix=error.fix) from None
    if findings.has_errors:
        problem = next(problem for problem in findings.problems if problem.severity == "error")
        raise DataError(f"{path}:{problem.row or 1}: {problem.message}", fix=problem.fix)
    kept, count = rows
    return Preview(path, chosen, told, {name: [row.get(name) for row in kept] for name in names}, count)


def _encoding_of(path: Path) -> tuple[str, str]:
    with open_binary(path) as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"PAR1") or foreign(head) is not None:
        return "utf-8", ""  # `sniff` says what it is
    if marked := marked_encoding(head):
        return marked, f"{marked.upper()} by its first bytes"
    with open_binary(path) as stream:
        bad = find_bad_byte(stream, "utf-8")
    if bad is None:
        return "utf-8", ""
    with open_binary(path) as stream:
        likely = likely_encodings(high_lines(stream))
    for name in likely:
        with open_binary(path) as stream:
            if find_bad_byte(stream, name) is None:
                return name, f"not UTF-8 ({bad.message.removesuffix(' is not utf-8')}); as {name} it looks like text"
    where = f"{path}:{bad.line}: {bad.message}, and no other encoding known here reads the whole file as text"
    raise DataError(where, fix="name its encoding with --encoding NAME, or save it as UTF-8")


def _rows(context: ReadContext, kind: Format) -> tuple[tuple[list[dict[str, Any]], int], list[str]]:
    if kind is Format.PARQUET:
        return _parquet(context.path)
    read: tuple[tuple[list[dict[str, Any]], int], list[str]] = (([], 0), [])
    # A byte that does not fit ends the reading with an error in the findings.
    with context.open_text(newline="" if kind in (Format.CSV, Format.TSV) else None) as stream:
        if kind in (Format.CSV, Format.TSV):
            read = _delimited(stream, "\t" if kind is Format.TSV else ",")
        else:
            if kind is Format.JSON_LINES and (questions := squad_rows(context)) is not None:
                return _spread(row for _, row in questions), list(questions[0][1])
            if kind is Format.JSON_LINES and (shape := other_shape(context)) is not None:
                raise DataError(f"{context.path}: {shape[0]}", fix=shape[1])
            found = _json_rows(_parsed(stream.read()) if kind is Format.JSON_ARRAY else map(_parsed, stream))
            first = list(islice(found, _NAMED_ROWS))
            read = _spread(chain(first, found)), list(dict.fromkeys(name for row in first for name in row))
    return read


def _delimited(stream: TextIO, delimiter: str) -> tuple[tuple[list[dict[str, Any]], int], list[str]]:
    before = csv.field_size_limit(2**31 - 1)
    reader = csv.reader(stream, delimiter=delimiter)
    try:
        names = [name.strip() for name in header_names(reader)]
        whole = (dict(zip(names, fields, strict=True)) for fields in reader if len(fields) == len(names))
        return _spread(whole), names
    except (csv.Error, StopIteration):
        return ([], 0), []  # the check names the row
    finally:
        csv.field_size_limit(before)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_rows(values: Any) -> Iterator[dict[str, Any]]:
    for value in values or ():
        if isinstance(value, dict):
            yield {str(name).strip(): item for name, item in value.items()}


def _spread(rows: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Keep at most `KEPT_ROWS` of the rows at equal steps; the step doubles whenever there are twice as many."""
    kept: list[dict[str, Any]] = []
    step, count = 1, 0
    for row in rows:
        if count % step == 0:
            kept.append(row)
            if len(kept) >= 2 * KEPT_ROWS:
                kept, step = kept[::2], step * 2
        count += 1
    return kept[:: -(-len(kept) // KEPT_ROWS) or 1], count


def _parquet(path: Path) -> tuple[tuple[list[dict[str, Any]], int], list[str]]:
    try:
        with parquet_source(path) as opened, pq.ParquetFile(opened) as source:
            names, total = list(source.schema_arrow.names), source.metadata.num_rows
            named = class_names_of(source.schema_arrow)
            step = -(-total // KEPT_ROWS) or 1
            kept: list[dict[str, Any]] = []
            seen = 0
            for batch in source.iter_batches(batch_size=65_536):
                chosen = range((-seen) % step, batch.num_rows, step)
                kept += batch.take(pa.array(chosen, pa.int64())).to_pylist()
                seen += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the Parquet file is damaged: {reason}", fix="write it again") from None
    for name, classes in named.items():
        for row in kept:
            if name in row:
                row[name] = _class_name(row[name], classes)
    trimmed = [{name.strip(): value for name, value in row.items()} for row in kept]
    return (trimmed, total), [name.strip() for name in names]


def _class_name(value: Any, classes: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_class_name(item, classes) for item in value]
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None
