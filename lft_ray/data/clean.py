"""Drop unusable rows and repair damaged texts. In: a `RawTable`. Out: `CleanRows`, and findings for each change."""

import numpy as np

from lft_ray.data.findings import LISTED_ROWS, Findings
from lft_ray.data.keys import text_keys
from lft_ray.data.readers.table import CleanRows, RawTable
from lft_ray.texts import is_blank, repaired

__all__ = ["clean"]

MAX_TEXT_CHARACTERS = 1_000_000
"""Longer texts are an error: no model reads them, and tokenising one takes minutes."""
MAX_EMPTY_TEXT_SHARE = 0.2
"""Up to this share of rows without text is dropped; more suggests that the wrong column was read."""
MAX_EMPTY_LABEL_SHARE = 0.01
"""Below this share rows without a label are dropped; from it on they are an error."""


def clean(table: RawTable, split: str, *, allows_empty: bool, findings: Findings) -> CleanRows:
    """Return the rows that have a text and a label.

    Args:
        table: rows as read (n).
        split: name of the split.
        allows_empty: whether a row without a label is valid.
        findings: collects errors and warnings.
    """
    texts = _repaired(table, findings)
    blank = [is_blank(text) for text in texts]
    _report_blank_texts(table, split, blank, findings)
    lacks_label = [not names and not allows_empty for names in table.labels]
    _report_empty_labels(table, split, [a and not b for a, b in zip(lacks_label, blank, strict=True)], findings)
    _report_long_texts(table, texts, findings)
    usable = [row for row in range(len(texts)) if not blank[row] and not lacks_label[row]]
    usable_texts = [texts[row] for row in usable]
    keys, words = text_keys(usable_texts)
    return CleanRows(
        split=split,
        texts=usable_texts,
        labels=[table.labels[row] for row in usable],
        row_ids=np.array(usable, dtype=np.int64),
        keys=keys,
        words=words,
        raw=table,
    )


def _repaired(table: RawTable, findings: Findings) -> list[str]:
    texts = [repaired(text) for text in table.texts]
    with_nul = [row for row, text in enumerate(table.texts) if "\0" in text]
    with_surrogate = [row for row, text in enumerate(table.texts) if texts[row] != text.replace("\0", "")]
    if with_nul:
        message = f"texts with a NUL character: {len(with_nul):,}; the character was removed"
        findings.warning("nul", message, at=table.origin(with_nul[0]), count=len(with_nul))
    if with_surrogate:
        message = f"texts with half of a surrogate pair: {len(with_surrogate):,}; replaced by U+FFFD"
        findings.warning("surrogate", message, at=table.origin(with_surrogate[0]), count=len(with_surrogate))
    return texts


def _report_blank_texts(table: RawTable, split: str, blank: list[bool], findings: Findings) -> None:
    rows = [row for row, nothing in enumerate(blank) if nothing]
    if not rows:
        return
    share = len(rows) / len(blank)
    if share > MAX_EMPTY_TEXT_SHARE:
        found = [(*table.origin(row), "the text is empty") for row in rows[: LISTED_ROWS + 1]]
        summary = f"the text is empty ({share:.0%} of {split}; at most {MAX_EMPTY_TEXT_SHARE:.0%} can be dropped)"
        fix = "is it the right column? Name it with --set task.text=NAME, or remove the rows"
        findings.error_rows("empty_text", found, summary=summary, fix=fix, more=len(rows) - len(found))
        return
    message = f"empty texts in {split}: {len(rows):,} ({share:.1%}); rows dropped"
    findings.warning("empty_text", message, at=table.origin(rows[0]), count=len(rows), fix="remove the rows")


def _report_empty_labels(table: RawTable, split: str, is_empty: list[bool], findings: Findings) -> None:
    rows = [row for row, empty in enumerate(is_empty) if empty]
    if not rows:
        return
    share = len(rows) / len(is_empty)
    if share >= MAX_EMPTY_LABEL_SHARE:
        found = [(*table.origin(row), "the label is empty") for row in rows[: LISTED_ROWS + 1]]
        summary = f"the label is empty ({share:.1%} of {split}; less than {MAX_EMPTY_LABEL_SHARE:.0%} can be dropped)"
        fix = "label these rows or remove them; texts without any label need --set task.kind=multilabel"
        findings.error_rows("empty_label", found, summary=summary, fix=fix, more=len(rows) - len(found))
        return
    message = f"empty labels in {split}: {len(rows):,} ({share:.2%}); rows dropped"
    findings.warning("empty_label", message, at=table.origin(rows[0]), count=len(rows), fix="label or remove them")


def _report_long_texts(table: RawTable, texts: list[str], findings: Findings) -> None:
    rows = [row for row, text in enumerate(texts) if len(text) > MAX_TEXT_CHARACTERS]
    if rows:
        found = [
            (
                *table.origin(row),
                f"the text has {len(texts[row]):,} characters, at most {MAX_TEXT_CHARACTERS:,} are allowed",
            )
            for row in rows
        ]
        fix = "shorten it or split it into rows; an unclosed quote can also merge rows into one"
        findings.error_rows("long_text", found, summary="the text is too long", fix=fix)
