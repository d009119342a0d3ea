"""How an engine reads its inputs, and what it returns of them: whole texts, or windows of a context.

In: texts, and a function that runs encoded sequences through the model. Out: one row of numbers for each text. The
table `READERS` chooses by what the head reads. Never imports torch or onnxruntime, never knows a task's answers.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import BATCH_TOKENS, Encoded, sorted_batches
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.passages import Passage, PassageTokenizer, Window
from lft_ray.models.spans import best_spans
from lft_ray.models.tokens import TextTokenizer, open_tokenizer
from lft_ray.tasks.questions.layout import merged
from lft_ray.texts import Text

__all__ = ["READERS", "Forward", "Reader", "passage_rows", "reader_of"]

Forward = Callable[[Sequence[Encoded]], NDArray[np.float32]]
"""Runs sequences of token ids, padded to the longest: [n, outputs], or [n, t, outputs] where the head reads tokens."""
MOST_WINDOWS = 64
"""Windows per forward pass."""


class Reader(Protocol):
    """Encodes texts, and makes one row of each from what the model returns."""

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Encode each text."""

    def rows(self, batch: Sequence[Encoded], forward: Forward) -> NDArray[np.float32]:
        """Run encoded texts; float32 [n, k]."""


class WholeTexts:
    """Texts, or pairs of texts, that are truncated to the length of the model; a row holds the outputs of the head."""

    def __init__(self, folder: Path, card: EngineCard) -> None:
        self._tokenizer = TextTokenizer(folder)
        self._max_length = card.max_length

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Token ids of each text or pair; truncated texts keep their end token."""
        return self._tokenizer.encode(texts, self._max_length)

    def rows(self, batch: Sequence[Encoded], forward: Forward) -> NDArray[np.float32]:
        """Run all of them at once."""
        return forward(batch)


class Windows:
    """Questions with a context that is read in windows; a row holds the best pieces of the context."""

    def __init__(self, folder: Path, card: EngineCard) -> None:
        self._tokenizer = PassageTokenizer(open_tokenizer(folder))
        self._max_length = card.max_length
        self._longest = card.longest_answer

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """The windows of each question, as `Passage`; a text without a question has an empty one."""
        pairs = [("", text) if isinstance(text, str) else text for text in texts]
        return list(self._tokenizer.passages(pairs, self._max_length))

    def rows(self, batch: Sequence[Encoded], forward: Forward) -> NDArray[np.float32]:
        """Run the windows of all questions in batches of similar length, and merge those of each question."""
        return passage_rows(batch, forward, self._longest)


READERS: Mapping[bool, Callable[[Path, EngineCard], Reader]] = {False: WholeTexts, True: Windows}
"""Whether the head reads tokens -> reader."""


def reader_of(folder: Path, card: EngineCard) -> Reader:
    """Return the reader of a model folder.

    Raises:
        BundleError: its tokenizer cannot be read.
    """
    return READERS[card.reads_tokens](folder, card)


def passage_rows(passages: Sequence[Passage], forward: Forward, longest: int) -> NDArray[np.float32]:
    """Rows of questions, float32 [n, width], as `lft_ray.tasks.questions.layout` lays them out.

    Args:
        passages: n questions with the windows of their contexts.
        forward: runs windows; returns logits [windows, t, 2].
        longest: maximum tokens of an answer.
    """
    windows: list[Window] = [window for passage in passages for window in passage.windows]
    rows: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(windows)
    for places in sorted_batches([len(window) for window in windows], BATCH_TOKENS, MOST_WINDOWS):
        logits = forward([windows[place] for place in places])
        for place, found in zip(places, logits, strict=True):
            rows[place] = best_spans(found[: len(windows[place])], windows[place].part, longest)
    ends = np.cumsum([len(passage.windows) for passage in passages])
    starts = [0, *ends[:-1]]
    return np.stack([merged(np.stack(rows[start:end])) for start, end in zip(starts, ends, strict=True)])
