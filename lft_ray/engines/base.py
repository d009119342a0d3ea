"""The contract of an engine: open a folder, encode texts, run batches. No HTTP, no Ray, no task.

A folder holds ``engine.json`` (`EngineCard`) beside the engine's own files. Engines answer logits; the task turns
logits into labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.card import EngineCard

__all__ = ["Encoded", "Engine", "EngineCard", "Runner"]

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
