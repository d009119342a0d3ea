"""Recognise questions with contexts and answers among columns. In: columns of a file. Out: role -> column, or None.

Names decide which columns are looked at, and what they hold decides whether they are it: answers are pieces of their
contexts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lft_ray.data.readers.span_cells import UnreadableAnswersError, parsed_answers, read_answers
from lft_ray.tasks.questions.task import Questions

__all__ = ["QUESTIONS", "question_columns", "share_in_context"]

QUESTIONS = Questions.kind
LOOKED_AT = 500
"""Rows whose answers are sought in their contexts."""
LEAST_IN_CONTEXT = 0.8
"""Share of the rows with an answer that have it in the context: below, it is written in other words."""


def question_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, str] | None:
    """Return the column of each role, by the usual names; None where a role has none, or answers are no pieces.

    Args:
        columns: name -> values of some rows.
    """
    known = {name.strip().casefold(): name for name in columns}
    roles: dict[str, str] = {}
    for column in Questions.columns:
        names = [name for name in column.names if name in known and known[name] not in roles.values()]
        if not names:
            return None
        roles[column.role] = known[names[0]]
    question, context, answers = (columns[name] for name in roles.values())
    if not all(isinstance(value, str | None) for part in (question, context) for value in part[:LOOKED_AT]):
        return None
    share = share_in_context(context, answers)
    return roles if share is not None and share >= LEAST_IN_CONTEXT else None


def share_in_context(contexts: Sequence[Any], answers: Sequence[Any]) -> float | None:
    """Share of the rows with an answer that have one in the context; None where none can be told."""
    found = []
    for context, value in zip(contexts[:LOOKED_AT], answers[:LOOKED_AT], strict=True):
        try:
            given = read_answers(parsed_answers(value) if isinstance(value, str) else value)
        except UnreadableAnswersError:
            return None
        # An answer that is the whole context, or a single letter, shows nothing: labels of one letter are common.
        texts = [text for text, _ in given if 1 < len(text) < len(context or "")]
        if given:
            found.append(any(text in context for text in texts))
    return sum(found) / len(found) if found else None
