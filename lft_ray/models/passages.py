"""A question and its context as windows of a length that a network reads. In: a tokenizer, texts. Out: windows.

A context that is too long is read in several windows, each with the whole question, that overlap: an answer at the
border of one stands inside the next. Every token of a context keeps the characters that it came from, so that answers
are cut from the context itself. Never joins tokens to a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.segments import PairTemplate
from lft_ray.models.spans import ContextPart
from lft_ray.models.tokens import Pair, Truncated, Unread
from lft_ray.scripts import UNSPACED_LETTER
from lft_ray.texts import same_length

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = [
    "MAX_WINDOWS", "OVERLAP", "ContextTokens", "Passage", "PassageTokenizer", "Window", "window_starts", "windows_of",
]  # fmt: skip

OVERLAP = 128
"""Tokens that two windows have in common, at most half of what a window holds of the context. As in BERT's script for
SQuAD, and more than nearly every answer."""
MAX_WINDOWS = 64
"""Windows of one context. At 384 tokens these are some 16,000 tokens, or 12,000 words; the rest is not read."""
_CHARS_PER_TOKEN = 8
"""Characters of a context that are tokenised for each token that can be read. English has about 4.5; a context of which
more is dropped by the tokenizer than this allows counts as truncated."""


@dataclass(frozen=True, slots=True)
class ContextTokens:
    """Tokens of a context, without special ones.

    Attributes:
        ids: token ids [k].
        places: first character of each token and the one after it, int32 [k, 2]; equal where none is left of it, such
            as for a token that stands for a blank alone.
        is_whole: whether the end of the context was tokenised.
    """

    ids: Sequence[int]
    places: NDArray[np.int32]
    is_whole: bool = True


class Window(Pair):
    """One window: the question, and a part of its context."""

    def __init__(self, ids: Sequence[int], types: Sequence[int], part: ContextPart) -> None:
        super().__init__(ids, types)
        self.part = part


class Passage(list[Any]):
    """The tokens of all windows of one question, one after the other: their number is what it costs.

    Attributes:
        windows: the windows, at least one.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        super().__init__(token for window in windows for token in window)
        self.windows = list(windows)


class TruncatedPassage(Passage, Truncated):
    """A passage of which the end of the question or of the context is in no window."""


class UnreadPassage(Passage, Unread):
    """A passage without a token of its context."""


class PassageTokenizer:
    """Tokenises questions with their contexts. Thread-safe.

    Args:
        tokenizer: tokenizer without truncation and padding.

    Attributes:
        template: how it joins two texts.

    Raises:
        BundleError: the tokenizer does not keep two texts apart.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self.template = PairTemplate.of(tokenizer)

    def questions(self, questions: Sequence[str]) -> list[list[int]]:
        """Token ids of questions, without special tokens."""
        encoded = self._tokenizer.encode_batch_fast(list(map(same_length, questions)), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def contexts(self, contexts: Sequence[str], max_length: int) -> list[ContextTokens]:
        """Tokens of contexts, as far as windows of ``max_length`` tokens can read them."""
        most = _CHARS_PER_TOKEN * MAX_WINDOWS * max_length
        texts = [same_length(context[:most]) for context in contexts]
        encoded: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [
            ContextTokens(encoding.ids, _places(text, encoding), is_whole=len(context) <= most)
            for context, text, encoding in zip(contexts, texts, encoded, strict=True)
        ]

    def passages(self, texts: Sequence[tuple[str, str]], max_length: int) -> list["Passage"]:
        """Questions with their contexts as windows of at most ``max_length`` tokens."""
        questions = self.questions([question for question, _ in texts])
        contexts = self.contexts([context for _, context in texts], max_length)
        return [
            windows_of(question, context, self.template, max_length)
            for question, context in zip(questions, contexts, strict=True)
        ]


def _places(text: str, encoding: "Encoding") -> NDArray[np.int32]:
    """Characters of each token, int32 [k, 2]: without the blanks at its ends, and as far as the word that it is in.

    Byte-level tokens begin with the blank before a word. A piece of a word is no answer, so tokens reach to the ends of
    their word: of the letters and digits around them, unless these are of a script without blanks.
    """
    places = _trimmed(text, encoding)
    if not text:
        return places
    in_word = np.fromiter(map(str.isalnum, text), dtype=np.bool_, count=len(text))
    if not text.isascii():
        for found in UNSPACED_LETTER.finditer(text):
            in_word[found.start()] = False
    begins, ends = _runs(in_word)
    starts, stops = places[:, 0], places[:, 1]
    some = starts < stops
    starts[some] = begins[starts[some]]
    stops[some] = ends[stops[some] - 1]
    return places


def _runs(in_word: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First character, and the one after the last, of the word at each character; a single one where there is none."""
    at = np.arange(len(in_word), dtype=np.int32)
    joins = np.concatenate([[False], in_word[1:] & in_word[:-1]])
    begins = np.maximum.accumulate(np.where(joins, 0, at)).astype(np.int32)
    last = np.concatenate([~joins[1:], [True]])
    ends = np.minimum.accumulate(np.where(last, at, len(in_word))[::-1])[::-1].astype(np.int32) + 1
    return begins, ends


def _trimmed(text: str, encoding: "Encoding") -> NDArray[np.int32]:
    """Characters of each token without the blanks at its ends."""
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
    blank = np.fromiter((character.isspace() for character in text), dtype=np.bool_, count=len(text))
    if not blank.any():
        return offsets
    starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
    inside = starts < ends
    while (leading := inside & (starts < ends) & blank[np.minimum(starts, len(text) - 1)]).any():
        starts[leading] += 1
    while (trailing := inside & (starts < ends) & blank[np.maximum(ends - 1, 0)]).any():
        ends[trailing] -= 1
    trimmed: NDArray[np.int32] = np.stack([starts, ends], axis=1)
    return trimmed


def windows_of(question: Sequence[int], context: ContextTokens, template: PairTemplate, max_length: int) -> Passage:
    """Lay a question and its context out in windows of at most ``max_length`` tokens.

    A question that takes more than half of a window is truncated.
    """
    room = max(2, max_length - len(template))
    kept = question[: room // 2]
    part = room - len(kept)
    starts = window_starts(len(context.ids), part)
    windows = [_window(kept, context, template, slice(start, start + part)) for start in starts]
    if not len(context.ids):
        return UnreadPassage(windows)
    fits = context.is_whole and len(kept) == len(question) and starts[-1] + part >= len(context.ids)
    return Passage(windows) if fits else TruncatedPassage(windows)


def window_starts(tokens: int, part: int) -> list[int]:
    """First token of the context in each window that holds ``part`` of its tokens."""
    step = part - min(OVERLAP, part // 2)
    further = max(0, -(-(tokens - part) // step))
    return [number * step for number in range(min(1 + further, MAX_WINDOWS))]


def _window(question: Sequence[int], context: ContextTokens, template: PairTemplate, place: slice) -> Window:
    first = len(template.before) + len(question) + len(template.between)
    second, places = context.ids[place], context.places[place]
    ids, types = template.joined(question, second, len(question) + len(second) + len(template))
    if not ids:  # a tokenizer without special tokens, and nothing to read: networks need at least one token
        ids, types = [0], [0]
    return Window(ids, types, ContextPart(first, places[:, 0], places[:, 1]))
