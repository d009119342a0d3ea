"""The sklearn engine: linear models fitted with scikit-learn (TF-IDF and a support vector machine), run in numpy.

In: texts. Out: float32 logits. Never imports scikit-learn or torch: a replica starts in a fraction of a second.
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
from lft_ray.texts import Text

__all__ = ["SklearnEngine", "SklearnRunner"]


class SklearnEngine:
    """Opens folders written by `lft_ray.models.tfidf.TfidfModel.save`."""

    name = "sklearn"
    precisions: tuple[str, ...] = ("fp32",)

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "SklearnRunner":
        """Open a folder.

        Args:
            folder: folder with ``vocabulary.json`` and ``linear.safetensors``.
            precision: fp32.
            threads: ignored; a text takes microseconds on one core.
            max_length: maximum words per text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or inconsistent, or the precision or the length is not supported.
        """
        if precision not in cls.precisions:
            raise BundleError(f"engine sklearn has no precision {precision!r}: expected fp32")
        model = TfidfModel.load(folder)
        return SklearnRunner(replace(model, max_length=EngineCard.read(folder).with_max_length(max_length).max_length))


class SklearnRunner:
    """An opened linear model."""

    def __init__(self, model: TfidfModel) -> None:
        self.max_length = model.max_length
        self._model = model

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Split each text into words, at most ``max_length``."""
        return self._model.encode(texts)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute logits [n, outputs] of a batch."""
        return self._model.run(batch)
