"""Tables of questions for report and card: where answers are right. In: truth and row scores. Out: a `Panel`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.records.panels import Panel, PanelColumn
from lft_ray.tasks.judging import RowScores

__all__ = ["length_group", "question_word", "score_panel"]

Truth = Mapping[str, Any]
_WORDS = ("what", "which", "who", "whom", "whose", "when", "where", "why", "how", "how many", "how much")
_FIRST = re.compile(r"\b(how (?:many|much)|what|which|whom?|whose|when|where|why|how)\b")
_OTHER, _NO_ANSWER = "other", "no answer"
_LENGTHS = ((1, "1 word"), (3, "2 to 3 words"), (8, "4 to 8 words"))
_LONGER = "9 words or more"
_ORDER = (*_WORDS, _OTHER, *(name for _, name in _LENGTHS), _LONGER, _NO_ANSWER)


def question_word(truth: Truth) -> str:
    """Return the first question word of an English question."""
    found = _FIRST.search(" ".join(truth["question"].lower().split()))
    return found.group() if found else _OTHER


def length_group(truth: Truth) -> str:
    """Return the group of the first true answer by its words."""
    if not truth["answers"]:
        return _NO_ANSWER
    words = len(truth["answers"][0].split())
    return next((name for most, name in _LENGTHS if words <= most), _LONGER)


def score_panel(
    title: str, caption: str, targets: NDArray[Any], scores: RowScores, group_of: Callable[[Truth], str]
) -> Panel:
    """Mean scores of each group of questions.

    Args:
        title: title of the table.
        caption: how questions are grouped.
        targets: truth of each row, [n].
        scores: F1 and exact match of each row, [n, 2].
        group_of: group of a row.
    """
    groups = np.array([group_of(truth) for truth in targets], dtype=object)
    rows: list[list[str | int | float]] = []
    for name in sorted(set(groups.tolist()), key=_ORDER.index):
        inside = scores[groups == name]
        rows.append([name, float(inside[:, 0].mean()), float(inside[:, 1].mean()), len(inside)])
    columns = [
        PanelColumn(name=title),
        PanelColumn(name="F1", kind="score"),
        PanelColumn(name="Exact match", kind="score"),
        PanelColumn(name="Rows", kind="count"),
    ]
    return Panel(title=title, caption=caption, columns=columns, rows=rows)
