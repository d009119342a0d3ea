"""True answers of questions: find them in their contexts. In: answers as read. Out: `Truth`. Never reads a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Located", "locate", "truth_array"]

Answer = tuple[str, int | None]
"""Text of an answer, and the character of the context at which it begins; None where the data does not say."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where an answer stands in its context.

    Attributes:
        start: first character; -1 where the context does not have the answer.
        was_moved: the data names another place than that at which the answer stands.
    """

    start: int
    was_moved: bool = False


def locate(context: str, answer: Answer) -> Located:
    """Find an answer: at the place that the data names, else at the nearest place that has it, else at the first."""
    text, start = answer
    if not text:
        return Located(-1)
    if start is not None and context.startswith(text, start) and start >= 0:
        return Located(start)
    found = _nearest(context, text, start or 0)
    return Located(found, was_moved=found >= 0 and start is not None)


def _nearest(context: str, text: str, start: int) -> int:
    start = min(max(start, 0), len(context))
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start), default=-1)


def truth_array(questions: Sequence[str], contexts: Sequence[str], answers: Sequence[Sequence[Answer]]) -> NDArray[Any]:
    """Truth of n questions, an object array [n] of dictionaries with question, context, answers and starts.

    The context is there because predictions are places in it, and are judged by their text; the question for the
    tables by question word.
    """
    rows: list[Mapping[str, Any]] = [
        {
            "question": question,
            "context": context,
            "answers": [text for text, _ in given],
            "starts": [locate(context, answer).start for answer in given],
        }
        for question, context, given in zip(questions, contexts, answers, strict=True)
    ]
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array
