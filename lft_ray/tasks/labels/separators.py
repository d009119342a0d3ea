"""Find label names that are several labels joined by a mark. In: names and rows. Out: warnings. Never splits one.

A mark joins labels where the parts come back: as labels of their own, or in other joined names.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lft_ray.tasks.findings import Findings
from lft_ray.tasks.labels.spelling import first_row
from lft_ray.tasks.rows import CleanRows
from lft_ray.texts import shown

__all__ = ["check_separator", "joined_names"]

_WIDE = ("\uff0c", "\u3001", "\uff1b", "\uff5c", "\u060c", "\u061b")
"""Commas, semicolons and bars of Chinese, Japanese and Arabic."""
_MARKS = (";;", "||", "::", ";", "|", *_WIDE, "#", "/", "\\", "&", "+", "~", "^", "\t", ":", "_", "-", " ")
"""Marks that exports put between labels, the longer and clearer first."""
_CLEAR = {";;", "||", ";", "|", "\t", *_WIDE}
"""Marks that hardly occur inside a name."""
_WEAK = {":", "_", "-", " ", "&", "+"}
"""Marks that are common inside names: one recombined name proves nothing."""
_CLEAR_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class _Joined:
    mark: str
    names: list[str]


def check_separator(rows: CleanRows, counts: Mapping[str, int], *, several: bool, findings: Findings) -> None:
    """Warn of labels that look like several labels joined by a mark.

    Args:
        rows: train rows.
        counts: rows of each label, most frequent first.
        several: whether a row may have several labels; with one label per row a comma is such a mark too.
        findings: collects the warning.
    """
    found = next(joined_names(list(counts), several=several), None)
    if found is None:
        return
    example = shown(found.names[0])
    expected = "expected commas" if several else "expected one label per row"
    message = f"labels such as {example} look like several labels joined by {found.mark!r}, {expected}"
    fix = f"replace {found.mark!r} by commas"
    if not several:
        fix = "--set task.kind=multilabel, with commas between labels; ignore this if each is one label"
    findings.warning("label_separator", message, at=first_row(rows, found.names[0]), count=len(found.names), fix=fix)


def joined_names(names: list[str], *, several: bool) -> Iterator[_Joined]:
    """Yield the marks that seem to join labels, with the joined names."""
    for mark in _MARKS if several else (",", *(mark for mark in _MARKS if mark not in _WEAK)):
        joined = [name for name in names if mark in name.strip(mark)]
        if joined and _is_joined(mark, joined, set(names) - set(joined), several=several):
            yield _Joined(mark, joined)


def _is_joined(mark: str, joined: list[str], alone: set[str], *, several: bool) -> bool:
    parts = [[part.strip() for part in name.split(mark) if part.strip()] for name in joined]
    uses = Counter(part for row in parts for part in dict.fromkeys(row))
    enough = any if several and mark in _CLEAR else all
    known = [row for row in parts if enough(part in alone or uses[part] > 1 for part in row)]
    share = len(joined) / (len(joined) + len(alone))
    if several and mark in _CLEAR and share > _CLEAR_SHARE:
        return True
    if len(uses) > len(joined) + len(alone) or not known:
        return False
    # Parts that come back: a few of them for a mark that names rarely contain, most of the joined names else.
    least = 3 if mark in _WEAK else 2 if not several else 1
    return len(known) >= least and len(known) > len(joined) / 2 and (mark not in _WEAK or share > 0.2)
