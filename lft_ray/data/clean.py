"""Drop unusable rows and repair damaged texts. In: a `RawTable`. Out: `CleanRows`, and findings for each change."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.keys import text_keys
from lft_ray.data.readers.kinds import kind_of
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import Column, column_key, input_columns, truth_columns
from lft_ray.tasks.findings import LISTED_ROWS, Findings
from lft_ray.tasks.rows import CleanRows, RawTable
from lft_ray.texts import repaired

__all__ = ["clean"]

MAX_TEXT_CHARACTERS = 1_000_000
"""Longer texts are an error: no model reads them, and tokenising one takes minutes."""
MAX_EMPTY_TEXT_SHARE = 0.2
"""Up to this share of rows without text is dropped; more suggests that the wrong column was read."""


def clean(table: RawTable, split: str, *, task: type[Task], findings: Findings) -> CleanRows:
    """Return the rows that have inputs and truth.

    Args:
        table: rows as read (n).
        split: name of the split.
        task: decides whether a row without truth is valid, and reports those that are not.
        findings: collects errors and warnings.
    """
    values = dict(table.values)
    lacks_input = np.zeros(len(table), dtype=np.bool_)
    for column in input_columns(table.columns):
        if column.kind == "text":
            values[column.role] = _repaired(table, column.role, findings)
        blank = _blank(column, values[column.role])
        _report_blank(table, split, column.role, blank, findings)
        lacks_input |= blank
    lacks_truth = np.zeros(len(table), dtype=np.bool_)
    # Truth that could not be read has an error of its own: its rows are no rows without truth.
    if table.truth_is_read and not task.allows_empty():
        for column in truth_columns(table.columns):
            lacks_truth |= _blank(column, values[column.role])
        task.report_missing(table, split, (lacks_truth & ~lacks_input).tolist(), findings)
    for column in input_columns(table.columns):
        if column.kind == "text":
            _report_long(table, column.role, values[column.role], findings)
    usable = np.flatnonzero(~lacks_input & ~lacks_truth)
    kept = {role: [column[row] for row in usable.tolist()] for role, column in values.items()}
    identity = task.identity(kept)
    keys, words = text_keys(identity)
    return CleanRows(
        split=split, values=kept, identity=identity, row_ids=usable.astype(np.int64), keys=keys, words=words, raw=table
    )


def _blank(column: Column, values: list[Any]) -> NDArray[np.bool_]:
    kind = kind_of(column)
    return np.array([kind.is_blank(value) for value in values], dtype=np.bool_)


def _repaired(table: RawTable, role: str, findings: Findings) -> list[str]:
    raw = table.values[role]
    texts = [repaired(text) for text in raw]
    with_nul = [row for row, text in enumerate(raw) if "\0" in text]
    with_surrogate = [row for row, text in enumerate(raw) if texts[row] != text.replace("\0", "")]
    if with_nul:
        message = f"{role}s with a NUL character: {len(with_nul):,}; the character was removed"
        findings.warning("nul", message, at=table.origin(with_nul[0]), count=len(with_nul))
    if with_surrogate:
        message = f"{role}s with half of a surrogate pair: {len(with_surrogate):,}; replaced by U+FFFD"
        findings.warning("surrogate", message, at=table.origin(with_surrogate[0]), count=len(with_surrogate))
    return texts


def _report_blank(table: RawTable, split: str, role: str, blank: NDArray[np.bool_], findings: Findings) -> None:
    rows = np.flatnonzero(blank).tolist()
    if not rows:
        return
    share = len(rows) / len(blank)
    if share > MAX_EMPTY_TEXT_SHARE:
        found = [(*table.origin(row), f"the {role} is empty") for row in rows[: LISTED_ROWS + 1]]
        summary = f"the {role} is empty ({share:.0%} of {split}; at most {MAX_EMPTY_TEXT_SHARE:.0%} can be dropped)"
        fix = f"is it the right column? Name it with --set {column_key(role)}=NAME, or remove the rows"
        findings.error_rows("empty_text", found, summary=summary, fix=fix, more=len(rows) - len(found))
        return
    message = f"empty {role}s in {split}: {len(rows):,} ({share:.1%}); rows dropped"
    findings.warning("empty_text", message, at=table.origin(rows[0]), count=len(rows), fix="remove the rows")


def _report_long(table: RawTable, role: str, texts: list[str], findings: Findings) -> None:
    rows = [row for row, text in enumerate(texts) if len(text) > MAX_TEXT_CHARACTERS]
    if rows:
        found = [
            (
                *table.origin(row),
                f"the {role} has {len(texts[row]):,} characters, at most {MAX_TEXT_CHARACTERS:,} are allowed",
            )
            for row in rows
        ]
        fix = "shorten it or split it into rows; an unclosed quote can also merge rows into one"
        findings.error_rows("long_text", found, summary=f"the {role} is too long", fix=fix)
