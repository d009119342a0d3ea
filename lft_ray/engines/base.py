"""The contract of an engine: open a folder, encode texts, run batches. No HTTP, no Ray, no task.

A folder holds ``engine.json`` (`EngineCard`) beside the engine's own files. Engines answer logits; the task turns
logits into labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.engine_card import EngineCard

__all__ = ["Encoded", "Engine", "EngineCard", "Runner", "padded"]

Encoded = Any
"""One encoded text; ``len(encoded)`` is its length in tokens (TF-IDF: words), at most max_length. One whose end was cut
off is a `lft_ray.models.tokens.Cut`."""


class Runner(Protocol):
    """An opened model. Both methods may be called from several threads at a time."""

    max_length: int

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenise and cut each text to ``max_length`` (the end token is kept)."""

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Logits [n, outputs] of a batch, padded to its longest member."""


class Engine(Protocol):
    """One way to run a model."""

    name: str
    precisions: tuple[str, ...]
    """Precisions that it can open a folder at."""

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> Runner:
        """Open a folder. ``max_length``: cut texts shorter than its card says; None: at the card's length.

        Raises:
            BundleError: files are missing or do not fit each other, the precision is not one of ``precisions``, or
                ``max_length`` is above the card's.
        """


def padded(batch: Sequence[Encoded], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill texts up to the longest of them, on the right.

    Args:
        batch: n id lists, none of them empty.
        pad_id: what stands behind a shorter text.

    Returns:
        Ids and mask (1 = token), both int64 [n, t].
    """
    width = max(len(ids) for ids in batch)
    ids = np.full((len(batch), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(batch), width), dtype=np.int64)
    for row, own in enumerate(batch):
        ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
    return ids, mask
