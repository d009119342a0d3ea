"""The file in which suspects are fixed. In: a `DeepReport`, or the filled-in file. Out: a CSV, or the fixed rows.

`write_review` writes one line for each suspect and near-duplicate with an empty column ``fix``; `write_fixed` applies
what stands there. Never changes a file of the data, and never overwrites one.
"""

import csv
import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft_ray.data.keys import normalise
from lft_ray.errors import InputError, nearest
from lft_ray.records import Record
from lft_ray.tasks.base import LabelTask
from lft_ray.tasks.columns import LABEL, input_columns
from lft_ray.tasks.rows import CleanRows, RawTable
from lft_ray.texts import repaired, shown
from lft_ray.train.deep.check import SHOWN_CHARACTERS, DeepReport

__all__ = ["NO_LABEL", "REMOVE", "Fixed", "check_target", "write_fixed", "write_review"]

COLUMNS = ["finding", "certainty", "file", "row", "split", "text", "label", "suggested", "probability",
           "duplicate_of", "similarity", "fix"]  # fmt: skip
REMOVE = "(remove)"
"""Fix that takes a row out."""
NO_LABEL = "(none)"
"""Fix that leaves a row of several labels without any."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Cells that a spreadsheet would run, and those that look as if they had been quoted."""


class Fixed(Record):
    """What `write_fixed` did."""

    files: dict[str, str]
    """Split as read -> file written."""
    relabelled: int
    removed: int
    unfixed: int
    """Lines of the review whose fix is empty."""


@dataclass(frozen=True, slots=True)
class _Fix:
    line: int
    file: str
    row: int
    text: str
    fix: str


def check_target(path: Path) -> None:
    """Refuse to write a review over another: it may have been filled in.

    Raises:
        InputError: the file exists, or its folder does not.
    """
    if path.exists():
        raise InputError(f"{path} already exists", fix="choose another name with --output")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder", fix="create it, or choose another with --output")


def write_review(report: DeepReport, path: Path) -> int:
    """Write the suspects, then the near-duplicates, as CSV; returns the number of lines.

    Raises:
        InputError: the file exists or cannot be written.
    """
    check_target(path)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for count, line in enumerate(_lines(report), start=1):  # noqa: B007
        writer.writerow({name: quoted(value) for name, value in line.items()})
    # With a byte order mark: without it spreadsheets read UTF-8 as Latin-1.
    _put(path, "\ufeff" + sink.getvalue())
    return count


def _lines(report: DeepReport) -> Iterator[dict[str, str]]:
    for one in report.suspects:
        yield {
            "finding": "label",
            "certainty": one.certainty,
            "file": one.file,
            "row": str(one.row),
            "split": one.split,
            "text": one.text,
            "label": one.label,
            "suggested": one.suggested or NO_LABEL,
            "probability": f"{one.probability:.4f}",
        }
    for other in report.near_duplicates:
        yield {
            "finding": "near_duplicate",
            "file": other.file,
            "row": str(other.row),
            "split": other.split,
            "text": other.text,
            "label": other.label,
            "duplicate_of": f"{other.other_file}:{other.other_row} ({other.other_split}, {other.other_label})",
            "similarity": f"{other.similarity:.3f}",
        }


def quoted(cell: str) -> str:
    """The cell with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unquoted(cell: str) -> str:
    """The cell before `quoted`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_fixed(review: Path, splits: Mapping[str, CleanRows], task: LabelTask, folder: Path) -> Fixed:
    """Write the rows of each source with the fixes of a review, as ``train.jsonl`` and so on, texts and label.

    Args:
        review: file of `write_review` with its column ``fix`` filled in; other columns and lines may have been removed.
        splits: rows of each split.
        task: task with its labels.
        folder: where the files are written; created where missing.

    Raises:
        InputError: the review does not belong to this data or a fix is no label; nothing is written then.
    """
    others = [one.role for one in task.columns if one.role != LABEL and (one.of, one.kind) != ("input", "text")]
    if others:
        told = f"fixes are written for rows of texts and a label; task {task.kind} reads {', '.join(others)} too"
        raise InputError(told, fix="correct the rows in your own files")
    fixes, unfixed = _read(review)
    # Splits that were cut from train share its table.
    tables = {name: rows.raw for name, rows in splits.items() if name == "train" or rows.raw is not splits["train"].raw}
    texts = {name: task.identity(table.values) for name, table in tables.items()}
    places = {table.origin(row): (name, row) for name, table in tables.items() for row in range(len(table))}
    changed: dict[tuple[str, int], list[str] | None] = {}
    for fix in fixes:
        place = places.get((fix.file, fix.row))
        name, row = place or ("", 0)
        if place is None or not _same_text(fix.text, texts[name][row]):
            raise InputError(
                f"{review}:{fix.line}: row {fix.row} of {fix.file} is another text or does not exist: the data has "
                "changed since the check",
                fix="run lft check --deep again",
            )
        labels = _labels(fix, review, task)
        if changed.setdefault(place, labels) != labels:
            raise InputError(f"{review}:{fix.line}: another line fixes row {fix.row} of {fix.file} differently")
    targets = {name: folder / f"{name}.jsonl" for name in tables}
    for path in targets.values():
        if path.exists():
            raise InputError(f"{path} already exists", fix="choose another folder with --output")
    for name, table in tables.items():
        one = {row: labels for (split, row), labels in changed.items() if split == name}
        _put(targets[name], "".join(_rows(table, task, one)))
    removed = sum(labels is None for labels in changed.values())
    return Fixed(
        files={name: str(path) for name, path in targets.items()},
        relabelled=len(changed) - removed,
        removed=removed,
        unfixed=unfixed,
    )


def _rows(table: RawTable, task: LabelTask, changed: Mapping[int, list[str] | None]) -> Iterator[str]:
    several = task.allows_empty()
    inputs = [column.role for column in input_columns(task.columns)]
    for row, given in enumerate(table.values[LABEL]):
        labels = changed.get(row, given)
        if labels is not None:
            value = labels if several else (labels[0] if labels else None)
            # A lone surrogate cannot be written as UTF-8; the data check repairs it the same way.
            fields: dict[str, Any] = {table.names[role]: repaired(table.values[role][row]) for role in inputs}
            fields[table.names[LABEL]] = value
            yield json.dumps(fields, ensure_ascii=False) + "\n"


def _read(review: Path) -> tuple[list[_Fix], int]:
    try:
        content = review.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{review} cannot be read: {error}", fix="save it as CSV in UTF-8") from error
    header = content.partition("\n")[0]
    # Spreadsheets of some countries write semicolons, others tabs.
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=max(",;\t", key=header.count))
    missing = [name for name in ("file", "row", "text", "fix") if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{review} has no column {missing[0]!r}: expected {', '.join(COLUMNS)}",
            fix="use a file that lft check --deep --output wrote",
        )
    fixes, unfixed = [], 0
    try:
        for line in reader:
            cells = {name: unquoted(line.get(name) or "") for name in ("file", "row", "text", "fix")}
            if not cells["fix"].strip():
                unfixed += 1
                continue
            if not cells["row"].strip().isdecimal():
                raise InputError(f"{review}:{reader.line_num}: row is {shown(cells['row'])}, expected a whole number")
            row = int(cells["row"])
            fixes.append(_Fix(reader.line_num, cells["file"], row, cells["text"], cells["fix"].strip()))
    except csv.Error as error:
        raise InputError(f"{review}:{reader.line_num}: {error}", fix="save it as CSV in UTF-8") from error
    return fixes, unfixed


def _same_text(told: str, text: str) -> bool:
    # Spreadsheets change line breaks and trailing spaces.
    return normalise(told) == normalise(repaired(text)[:SHOWN_CHARACTERS])


def _labels(fix: _Fix, review: Path, task: LabelTask) -> list[str] | None:
    """Labels that a fix asks for; None to remove the row."""
    import pyarrow as pa

    known = set(task.labels)
    if fix.fix in known:
        return [fix.fix]
    if fix.fix == REMOVE:
        return None
    if fix.fix == NO_LABEL and task.allows_empty():
        return []
    names = [name.strip() for name in task.read_targets(pa.array([fix.fix]))[0]]
    for name in names:
        if name not in known:
            allowed = ", ".join(map(shown, task.labels[:20])) + (" ..." if len(known) > 20 else "")
            raise InputError(
                f"{review}:{fix.line}: fix {shown(name)} is not a label: expected {allowed} or {REMOVE}."
                f"{nearest(name, known)}"
            )
    return names


def _put(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8", newline="")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}", fix="choose another with --output") from error
    finally:
        temporary.unlink(missing_ok=True)
