"""The engine of linear models that scikit-learn fitted: TF-IDF and logistic regression, run in numpy.

In: texts. Out: float32 logits. Opening one imports neither scikit-learn nor torch: a replica is up in a fraction of a
second.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tfidf import TfidfModel

__all__ = ["SklearnEngine", "SklearnRunner"]


class SklearnEngine:
    """Opens folders that `lft_ray.models.tfidf.TfidfModel.save` wrote."""

    name = "sklearn"
    precisions: tuple[str, ...] = ("fp32",)

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "SklearnRunner":
        """Open a folder.

        Args:
            folder: with ``vocabulary.json`` and ``linear.safetensors``.
            precision: fp32.
            threads: has no effect; a text takes microseconds on one.
            max_length: words kept of a text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or do not fit each other, or precision or length is not one it has.
        """
        if precision not in cls.precisions:
            raise BundleError(f"engine sklearn has no precision {precision!r}: expected fp32")
        model = TfidfModel.load(folder)
        return SklearnRunner(replace(model, max_length=EngineCard.read(folder).cut_at(max_length).max_length))


class SklearnRunner:
    """An opened linear model."""

    def __init__(self, model: TfidfModel) -> None:
        self.max_length = model.max_length
        self._model = model

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Words of each text, at most ``max_length``."""
        return self._model.encode(texts)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Logits [n, outputs] of a batch."""
        return self._model.run(batch)
