"""Read one split from files, globs or the hub. In: an entry of the experiment file. Out: a `RawTable`.

Never drops a row and never raises for bad data: errors are listed in ``RawTable.problems``, and the check reports them.
"""

import difflib
import glob
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lft_ray.data.readers.columnar import HUB_PREFIX, read_hub, read_parquet
from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.decoding import check_encoding
from lft_ray.data.readers.delimited import read_delimited
from lft_ray.data.readers.json_rows import read_json
from lft_ray.data.readers.kinds import kind_of
from lft_ray.data.readers.packed import PackedError, check_packed
from lft_ray.data.readers.sniff import Format, sniff
from lft_ray.data.readers.table import FileColumns
from lft_ray.errors import DataError
from lft_ray.records import Problem
from lft_ray.system.paths import matches, resolve
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import TEXT, Column, column_key, input_columns
from lft_ray.tasks.findings import Findings, raise_on_errors
from lft_ray.tasks.rows import RawTable

__all__ = ["file_sha256", "read_inputs", "read_table", "read_texts"]

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://")


def read_table(
    spec: str | list[str],
    *,
    task: type[Task],
    names: Mapping[str, str | None] | None = None,
    encoding: str = "utf-8",
    hub_split: str = "train",
) -> RawTable:
    """Read all files of one split, in the given order (files of a glob by name).

    Args:
        spec: file, glob or ``hub:owner/name[@revision][:config]``, or a list of these.
        task: task class; says which columns there must be, and parses those with names.
        names: role -> name of its column; None or absent: try the usual names.
        encoding: encoding of CSV, TSV and JSON files.
        hub_split: name of the split of a hub data set.

    Returns:
        The rows that could be read, and the problems of all files.

    Raises:
        ConfigError: ``encoding`` is not a known codec.
    """
    check_encoding(encoding)
    wanted = WantedColumns(task.columns, names or {})
    findings = Findings()
    parts: list[tuple[str, FileColumns]] = []
    files: dict[str, str] = {}
    for entry in [spec] if isinstance(spec, str) else spec:
        if entry.startswith(HUB_PREFIX):
            columns, hashes = read_hub(entry, split=hub_split, wanted=wanted, findings=findings)
            files |= hashes
            parts += [(next(iter(hashes)), columns)] if columns else []
        else:
            for file in _expand(entry, findings):
                # Also through a link, or by another spelling of its path.
                earlier = next((other for other in files if _is_same_file(file, other)), None)
                if earlier is not None:
                    told = "" if earlier == file else f", also as {earlier}"
                    findings.of(file).warning("file_twice", f"the file is listed twice{told}; it is read once")
                    continue
                files[file] = file_sha256(Path(file))
                columns = _read_file(ReadContext(Path(file), encoding, wanted, findings.of(file)))
                parts += [(file, columns)] if columns is not None else []
    return _assemble(parts, files, task, findings)


def read_texts(
    file: str, *, text: str | None = None, encoding: str = "utf-8", warnings: list[Problem] | None = None
) -> list[str]:
    """Read the text column of one CSV, TSV, JSONL, JSON or Parquet file, labelled or not, in file order.

    Args:
        file: path of the file; not a glob.
        text: name of the text column; None: try the usual names.
        encoding: encoding of CSV, TSV and JSON files.
        warnings: receives how the file was read, where that is not plain.

    Returns:
        One text per row; a missing text is an empty string.

    Raises:
        DataError: the file has errors; the message lists them by row.
    """
    return read_inputs(file, (TEXT,), names={TEXT.role: text}, encoding=encoding, warnings=warnings)[TEXT.role]


def read_inputs(
    file: str,
    columns: Sequence[Column],
    *,
    names: Mapping[str, str | None] | None = None,
    encoding: str = "utf-8",
    warnings: list[Problem] | None = None,
) -> dict[str, list[Any]]:
    """Read the inputs of one file whose rows are to be answered, in file order; it may have truth or not.

    Args:
        file: path of the file; not a glob.
        columns: columns of the task; those of the truth are not looked for.
        names: role -> name of its column; None or absent: try the usual names.
        encoding: encoding of CSV, TSV and JSON files.
        warnings: receives how the file was read, where that is not plain.

    Returns:
        Role -> value of each row.

    Raises:
        DataError: the file has errors; the message lists them by row.
    """
    check_encoding(encoding)
    findings = Findings()
    part, wanted = None, WantedColumns(input_columns(columns), names or {}, to_answer=True)
    path = resolve(file)
    # One file, never a pattern: its name may have brackets and asterisks.
    if path.is_file() or (not glob.has_magic(file) and _expand(file, findings)):
        part = _read_file(ReadContext(path, encoding, wanted, findings.of(file)))
    raise_on_errors(findings.problems)
    if warnings is not None:
        warnings += findings.problems
    if part is None:
        raise DataError(f"{file} cannot be read", fix="pass one CSV, TSV, JSONL or Parquet file")
    return {role: cells if isinstance(cells, list) else cells.to_pylist() for role, cells in part.values.items()}


def _is_same_file(file: str, other: str) -> bool:
    return file == other or (not other.startswith(HUB_PREFIX) and Path(file).samefile(other))


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _expand(entry: str, findings: Findings) -> list[str]:
    if _URL.match(entry):
        fix = "copy the file to this machine or a shared mount, or use hub:owner/name"
        findings.error("no_file", f"{entry} is a URL, which cannot be read", fix=fix)
        return []
    path = resolve(entry)
    if path.is_file():
        return [str(path)]
    if not entry.strip():
        findings.error("no_file", "the name of a file is empty", fix="name a file, or remove the entry")
        return []
    if path.is_dir():
        findings.error("no_file", f"{entry} is a folder", fix=f"name its files, such as {entry.rstrip('/')}/*.csv")
        return []
    if glob.has_magic(entry):
        found = [str(name) for name in matches(entry) or [] if name.is_file()]
        if not found:
            findings.error("no_file", f"no file matches {entry}", fix="check the pattern and the working directory")
        return found
    if path.exists():
        message = f"{entry} is a pipe or a device, which cannot be read twice"
        findings.error("no_file", message, fix="write it to a file first")
        return []
    folder = path.parent
    names = [other.name for other in folder.iterdir()] if folder.is_dir() else []
    if path.is_symlink():
        target = str(path.readlink())
        findings.error("no_file", f"{entry} is a link to {target}, which does not exist", fix="mend the link")
        return []
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f" Did you mean {str(folder / close[0])!r}?" if close else ""
    fix = f"paths are relative to the working directory, {Path.cwd()}" if not path.is_absolute() else "check the path"
    findings.error("no_file", f"file {entry} does not exist.{hint}", fix=fix)
    return []


def _read_file(context: ReadContext) -> FileColumns | None:
    try:
        packing = check_packed(context.path)
        columns = _read_unpacked(context)
    except PackedError as error:
        context.findings.error("packed_file", str(error), fix=error.fix)
        return None
    if columns is None or not packing:
        return columns
    return replace(columns, read_as="; ".join(filter(None, (f"unpacked ({packing})", columns.read_as))))


def _read_unpacked(context: ReadContext) -> FileColumns | None:
    kind = sniff(context.path, context.encoding, context.findings, option=context.wanted.option("encoding"))
    if kind is None:
        return None
    if kind is Format.PARQUET:
        return read_parquet(context)
    if kind in (Format.JSON_LINES, Format.JSON_ARRAY):
        return read_json(context, is_array=kind is Format.JSON_ARRAY)
    return read_delimited(context, delimiter="\t" if kind is Format.TSV else ",")


def _assemble(
    parts: Sequence[tuple[str, FileColumns]], files: dict[str, str], task: type[Task], findings: Findings
) -> RawTable:
    values: dict[str, list[Any]] = {column.role: [] for column in task.columns}
    read_as: dict[str, str] = {}
    truth_is_read = True
    for file, part in parts:
        told = [part.read_as]
        for column in task.columns:
            kind = kind_of(column)
            rows, how = kind.rows(column, part, task, findings.of(file))
            if rows is None:
                # Nothing in this column, but the rows stay: other problems of the file are reported too.
                rows = [kind.missing() for _ in part.row_numbers]
                truth_is_read = False
            told.append(how)
            values[column.role] += rows
        read_as[file] = "; ".join(filter(None, told))
    _same_columns(parts, findings)
    row_numbers = [part.row_numbers for _, part in parts] or [np.empty(0, dtype=np.int64)]
    return RawTable(
        columns=task.columns,
        values=values,
        names=parts[0][1].names if parts else {},
        paths=[file for file, _ in parts],
        file_index=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.row_numbers) for _, part in parts]),
        row_numbers=np.concatenate(row_numbers),
        problems=findings.problems,
        files=files,
        read_as={file: how for file, how in read_as.items() if how},
        truth_is_read=truth_is_read,
    )


def _same_columns(parts: Sequence[tuple[str, FileColumns]], findings: Findings) -> None:
    for file, part in parts[1:]:
        first_file, first = parts[0]
        if part.names != first.names:
            here, there = (" and ".join(map(repr, names.values())) for names in (part.names, first.names))
            message = f"{' and '.join(part.names)} are {here} here, but {there} in {first_file}"
            fix = f"name them with {' and '.join(map(column_key, part.names))}"
            findings.error("columns_differ", message, file=file, fix=fix)
