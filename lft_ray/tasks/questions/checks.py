"""Checks of questions, contexts and answers. In: clean rows. Out: findings. Never drops or changes a row."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.findings import LISTED_ROWS, Findings
from lft_ray.tasks.questions.truth import Answer, locate
from lft_ray.tasks.rows import CleanRows, Repeats
from lft_ray.texts import is_blank, shown

__all__ = ["ANSWERS", "CONTEXT", "MIN_QUESTIONS", "QUESTION", "check_answers", "check_conflicts"]

QUESTION, CONTEXT, ANSWERS = "question", "context", "answers"
MIN_QUESTIONS = 20
"""Fewer train questions than this are an error: nothing can be learned from them, and no F1 be told apart."""
MAX_LOST_SHARE = 0.05
"""Up to this share of questions may have no answer that stands in the context: they are judged by, not learned from."""


def check_answers(rows: CleanRows, findings: Findings) -> None:
    """Report answers that are not in their context, that begin elsewhere than said, that are blank or very long."""
    places = [
        [locate(context, answer) for answer in given]
        for context, given in zip(rows.values[CONTEXT], rows.values[ANSWERS], strict=True)
    ]
    answers: list[list[Answer]] = rows.values[ANSWERS]
    blank = [row for row, given in enumerate(answers) if any(is_blank(text) for text, _ in given)]
    if blank:
        message = f"questions of {rows.split} with an answer without a visible character: {len(blank):,}"
        fix = "an empty list says that there is no answer"
        findings.error_rows("empty_answer", _at(rows, blank, "an answer is blank"), summary=message, fix=fix)
    lost = [row for row, found in enumerate(places) if found and all(place.start < 0 for place in found)]
    _report_lost(rows, [row for row in lost if row not in set(blank)], findings)
    partly = [row for row, found in enumerate(places) if any(p.start < 0 for p in found) and row not in set(lost)]
    if partly:
        message = (
            f"questions of {rows.split} with an answer that is not in the context, beside others that are: "
            f"{len(partly):,}; it counts as right, and cannot be predicted"
        )
        findings.warning("answer_not_in_context", message, at=rows.origin(partly[0]), count=len(partly))
    moved = [row for row, found in enumerate(places) if any(place.was_moved for place in found)]
    if moved:
        message = (
            f"questions of {rows.split} whose answer does not begin where the data says: {len(moved):,}; "
            "the nearest place in the context that has it is used"
        )
        fix = "write the character at which each answer begins, counted from 0 in Unicode code points, or leave it out"
        findings.warning("answer_offset", message, at=rows.origin(moved[0]), count=len(moved), fix=fix)
    none = [row for row, given in enumerate(answers) if not given]
    if none:
        message = f"questions of {rows.split} without an answer: {len(none):,} ({len(none) / len(rows):.1%})"
        findings.warning("no_answer", f"{message}; the model learns to give none", at=rows.origin(none[0]))


def _report_lost(rows: CleanRows, lost: list[int], findings: Findings) -> None:
    if not lost:
        return
    share = len(lost) / len(rows)
    fix = "answers are pieces of the context, letter by letter; correct them or remove the rows"
    if share > MAX_LOST_SHARE:
        found = _at(rows, lost, "no answer stands in the context")
        summary = f"no answer stands in the context ({share:.1%} of {rows.split}; at most {MAX_LOST_SHARE:.0%} may)"
        findings.error_rows("answer_not_in_context", found, summary=summary, fix=fix, more=len(lost) - len(found))
        return
    message = f"questions of {rows.split} of which no answer stands in the context: {len(lost):,} ({share:.1%})"
    text, _ = rows.values[ANSWERS][lost[0]][0]
    told = f"{message}, such as {shown(text)}; they are judged by, not learned from"
    findings.warning("answer_not_in_context", told, at=rows.origin(lost[0]), count=len(lost), fix=fix)


def _at(rows: CleanRows, found: Iterable[int], message: str) -> list[tuple[str, int, str]]:
    return [(*rows.origin(row), message) for row in list(found)[: LISTED_ROWS + 1]]


def check_conflicts(rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
    """Warn of the same question about the same context with other answers; return the number of such questions."""
    answers = rows.values[ANSWERS]
    texts = [{text for text, _ in given} for given in answers]
    conflicting = [row for row in repeats.rows.tolist() if not texts[row] & texts[repeats.first[row]]]
    # Two empty sets share nothing, and agree.
    conflicting = [row for row in conflicting if texts[row] or texts[repeats.first[row]]]
    if not conflicting:
        return 0
    distinct: NDArray[np.int64] = np.unique(repeats.first[conflicting])
    row, earlier = conflicting[0], int(repeats.first[conflicting[0]])
    message = f"questions with conflicting answers: {len(distinct):,} (see row {rows.origin(earlier)[1]})"
    fix = "write the answers of one question into one row"
    findings.warning("conflicting_answers", message, at=rows.origin(row), count=len(conflicting), fix=fix)
    return len(distinct)
