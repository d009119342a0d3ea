"""The sklearn engine: linear models fitted with scikit-learn (TF-IDF and a support vector machine), run in numpy.

In: texts. Out: float32 logits. Never imports scikit-learn or torch: a replica starts in a fraction of a second.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.floors import FloorModel
from lft_ray.models.tfidf import TfidfModel
from lft_ray.texts import Text

__all__ = ["SklearnEngine", "SklearnRunner"]


class SklearnEngine:
    """Opens folders written by `lft_ray.models.tfidf.TfidfModel.save`."""

    name = "sklearn"
    model: type[FloorModel] = TfidfModel
    precisions: tuple[str, ...] = ("fp32",)

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "SklearnRunner":
        """Open a folder.

        Args:
            folder: folder written by the ``save`` of ``model``.
            precision: fp32.
            threads: ignored; a text takes microseconds on one core.
            max_length: maximum words per text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or inconsistent, or the precision or the length is not supported.
        """
        if precision not in cls.precisions:
            raise BundleError(f"engine {cls.name} has no precision {precision!r}: expected fp32")
        length = EngineCard.read(folder).with_max_length(max_length).max_length
        return SklearnRunner(cls.model.load(folder).with_max_length(length))


class SklearnRunner:
    """An opened linear model."""

    def __init__(self, model: FloorModel) -> None:
        self.max_length = model.max_length
        self._model = model

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Split each text into words, at most ``max_length``."""
        return self._model.encode(texts)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """What the model says of each text of a batch, [n, k]."""
        return self._model.run(batch)
