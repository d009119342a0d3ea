"""Choose answers from the logits of one window: start and end together. In: logits of tokens. Out: a row of the task.

Start and end are chosen jointly among the spans of at most so many tokens, with the end not before the start: the best
start and the best end apart give empty answers. Never cuts a text: it returns character offsets. NumPy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.questions.layout import CANDIDATES, LOW, row_of

__all__ = ["ContextPart", "best_spans"]

Floats = NDArray[np.float32]
_LOOKED_AT = 8 * CANDIDATES
"""Spans of tokens among which different pieces of the context are sought: a word of three tokens has nine of them."""


@dataclass(frozen=True, slots=True)
class ContextPart:
    """Where the tokens of a context stand in a window.

    Attributes:
        first: position in the window of the first token of the context.
        starts: character at which each token of the part begins, int [k].
        ends: character after each token of the part, int [k].
    """

    first: int
    starts: NDArray[np.integer]
    ends: NDArray[np.integer]


def best_spans(logits: Floats, part: ContextPart, longest: int) -> Floats:
    """Return the best spans of one window, as `lft_ray.tasks.questions.layout` lays them out, [width].

    Args:
        logits: start and end logit of each token of the window, [t, 2]; the first token stands for "no answer".
        part: where the context stands in it.
        longest: maximum tokens of an answer.
    """
    none_score = float(logits[0, 0]) + float(logits[0, 1])
    tokens = len(part.starts)
    if not tokens:
        return row_of(np.empty((0, 3)), LOW, none_score)
    inside = logits[part.first : part.first + tokens].astype(np.float64)
    # A token without a character, such as one that stands for a blank alone, neither begins nor ends an answer.
    inside[part.starts >= part.ends] = -np.inf
    # One row of the band for each length: scores[k, i] is the span of k + 1 tokens that begins at token i.
    longest = max(1, min(longest, tokens))
    padded = np.concatenate([inside[:, 1], np.full(longest, -np.inf)])
    ends = np.lib.stride_tricks.sliding_window_view(padded, tokens)[:longest]
    scores = inside[:, 0] + ends
    highest = scores.max()
    if not np.isfinite(highest):
        return row_of(np.empty((0, 3)), LOW, none_score)
    log_total = float(highest + np.log(np.exp(scores - highest).sum()))
    flat = scores.ravel()
    count = min(_LOOKED_AT, int(np.isfinite(flat).sum()))
    chosen = np.argpartition(-flat, count - 1)[:count]
    # Ties go to the earlier and the shorter span, whatever the order of the partition.
    lengths, begins = np.divmod(chosen, tokens)
    order = np.lexsort((lengths, begins, -flat[chosen]))
    lengths, begins, chosen = lengths[order], begins[order], chosen[order]
    spans = np.stack([part.starts[begins], part.ends[begins + lengths], flat[chosen]], axis=1).astype(np.float64)
    # Several tokens of one word stand for the same place: its best score counts.
    _, first = np.unique(spans[:, :2], axis=0, return_index=True)
    return row_of(spans[np.sort(first)[:CANDIDATES]], log_total, none_score)
