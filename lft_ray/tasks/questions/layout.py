"""What a model says of one question, as a row of numbers of fixed width. In: rows. Out: their parts. NumPy only.

A row holds the best `CANDIDATES` spans as start, end (characters of the context, end exclusive) and score (sum of two
logits), best first, then the logarithm of the sum over all spans, and the score of "no answer". A place without a
candidate has start and end -1. Offsets are exact: float32 holds whole numbers up to 16.7 million, and a context has at
most a million characters.
"""

import numpy as np
from numpy.typing import NDArray

from lft_ray.wire import MAX_ANSWERS

__all__ = ["CANDIDATES", "LOW", "WIDTH", "candidates_of", "log_total_of", "merged", "none_score_of", "row_of"]

CANDIDATES = MAX_ANSWERS
"""Spans that are kept of each question: as many answers as a request may ask for."""
WIDTH = 3 * CANDIDATES + 2
LOW = -1e30
"""Score of a place without a candidate; finite, since an engine that returns infinity is taken for a broken one."""
_TOTAL, _NONE = 3 * CANDIDATES, 3 * CANDIDATES + 1

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]


def candidates_of(rows: Floats) -> Floats:
    """Start, end and score of the candidates of each row, [n, candidates, 3], best first."""
    return rows[:, :_TOTAL].reshape(len(rows), CANDIDATES, 3)


def log_total_of(rows: Floats) -> Floats64:
    """Logarithm of the sum of exp(score) over all spans of each row, [n]."""
    return rows[:, _TOTAL].astype(np.float64)


def none_score_of(rows: Floats) -> Floats64:
    """Score of "no answer" of each row, [n]."""
    return rows[:, _NONE].astype(np.float64)


def row_of(spans: Floats64, log_total: float, none_score: float) -> Floats:
    """Make a row.

    Args:
        spans: start, end and score of at most `CANDIDATES` spans, [k, 3], best first.
        log_total: logarithm of the sum of exp(score) over all spans.
        none_score: score of "no answer".
    """
    row = np.empty(WIDTH, np.float32)
    places = row[:_TOTAL].reshape(CANDIDATES, 3)
    places[:] = (-1.0, -1.0, LOW)
    places[: len(spans)] = spans
    row[_TOTAL], row[_NONE] = log_total, none_score
    return row


def merged(rows: Floats) -> Floats:
    """Merge the rows of the windows of one question, [windows, width], into one [width].

    A span in the overlap of two windows counts once, with its higher score, but twice in the sum over all spans, which
    makes the probability of an answer slightly too low. "No answer" has its lowest score of any window, as in SQuAD's
    evaluation: one window that is sure of an answer is enough.
    """
    if len(rows) == 1:
        whole: Floats = rows[0]
        return whole
    spans = candidates_of(rows).reshape(-1, 3).astype(np.float64)
    spans = spans[spans[:, 0] >= 0]
    spans = spans[np.argsort(-spans[:, 2], kind="stable")]
    _, first = np.unique(spans[:, :2], axis=0, return_index=True)
    totals = log_total_of(rows)
    highest = totals.max()
    log_total = float(highest + np.log(np.exp(totals - highest).sum()))
    return row_of(spans[np.sort(first)[:CANDIDATES]], log_total, float(none_score_of(rows).min()))
