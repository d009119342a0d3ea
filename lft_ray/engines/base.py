"""The engine protocol: open a folder, encode texts, run batches. Also `padded`, which pads a batch of token ids.

In: a folder with ``engine.json`` (`EngineCard`) and the engine's own files, then texts. Out: logits, which the task
converts to labels. Never knows HTTP, Ray or tasks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.engine_card import EngineCard
from lft_ray.texts import Text

__all__ = [
    "BATCH_TOKENS", "Encoded", "Engine", "EngineCard", "Runner", "padded", "segment_numbers", "sorted_batches",
]  # fmt: skip

BATCH_TOKENS = 384
"""Padded tokens per batch. Larger batches exceed the cache of a core: with 32 queued texts of AG News, MiniLM in int8
takes 8.8 ms of CPU time per text at 2048, 6.5 at 384 and 6.1 at 256; fp32 18.9, 14.6 and 14.1; torch in bf16 11.5, 9.4
and 9.9."""
Encoded = Any
"""One encoded text; ``len(encoded)`` is the tokens that are run for it (TF-IDF: words), at most max_length. A truncated
one is a `lft_ray.models.tokens.Truncated`, two texts a `lft_ray.models.tokens.Pair`, and a question with a context that
is read in several windows a `lft_ray.models.passages.Passage`, whose length is that of all windows."""


class Runner(Protocol):
    """An opened model. Both methods must be thread-safe."""

    max_length: int
    """Maximum tokens (TF-IDF: words) per text."""

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Tokenise each text, or pair of texts, and truncate it to ``max_length``, preserving the end token."""

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute logits [n, outputs] of a batch, padded to its longest text; of passages their rows [n, k]."""


class Engine(Protocol):
    """A runtime for model folders."""

    name: str
    precisions: tuple[str, ...]
    """Precisions at which the engine can open a folder."""

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> Runner:
        """Open a folder.

        Args:
            folder: model folder with ``engine.json``.
            precision: one of ``precisions``.
            threads: number of CPU cores for one forward pass.
            max_length: maximum tokens per text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or inconsistent, the precision is not one of ``precisions``, or
                ``max_length`` is above the card's.
        """


def padded(batch: Sequence[Encoded], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad token ids on the right to the longest text.

    Args:
        batch: n lists of token ids, none empty.
        pad_id: token id used as padding.

    Returns:
        Ids and mask (1 = token), both int64 [n, t].
    """
    width = max(len(ids) for ids in batch)
    ids = np.full((len(batch), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(batch), width), dtype=np.int64)
    for row, encoded in enumerate(batch):
        ids[row, : len(encoded)] = encoded
        mask[row, : len(encoded)] = 1
    return ids, mask


def segment_numbers(batch: Sequence[Encoded]) -> NDArray[np.int64]:
    """Number of the text that each token belongs to, int64 [n, t], padded with 0; of single texts all are 0."""
    numbers = np.zeros((len(batch), max(len(ids) for ids in batch)), dtype=np.int64)
    for row, encoded in enumerate(batch):
        if types := getattr(encoded, "types", None):
            numbers[row, : len(types)] = types
    return numbers


def sorted_batches(lengths: Sequence[int], max_batch_tokens: int, max_batch: int) -> Iterator[list[int]]:
    """Yield the text indices of each batch, shortest texts first; a text above the budget is a batch of its own."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == max_batch or (len(batch) + 1) * lengths[row] > max_batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
