"""Models without a network, by the family of the ladder: the cheap end of every front. In: a name. Out: a class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lft_ray.plugins import resolve
from lft_ray.tasks.base import Head, Task
from lft_ray.texts import Text

__all__ = ["FLOORS", "Floor", "FloorModel", "floor_model"]

Floats = NDArray[np.float32]


class FloorModel(Protocol):
    """A model that is fitted in one step on one core, and runs in numpy."""

    @property
    def max_length(self) -> int:
        """Maximum words per text."""

    def with_max_length(self, max_length: int) -> Self:
        """Return the same model for other lengths."""

    @classmethod
    def fit(cls, texts: Sequence[Text], targets: NDArray[Any], task: Task, seed: int, *, max_length: int) -> Self:
        """Fit on all texts."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder written by `save`."""

    def encode(self, texts: Sequence[Text]) -> list[Any]:
        """Encode each text."""

    def run(self, batch: Sequence[Any]) -> Floats:
        """What the model says of encoded texts, float32 [n, k]."""

    def logits(self, texts: Sequence[Text]) -> Floats:
        """What the model says of texts, float32 [n, k]."""

    def save(self, folder: Path) -> None:
        """Write a folder that its engine can open."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A family of models without a network.

    Attributes:
        model: ``module:Class`` of the model.
        engine: engine that opens its folders.
        head: tasks that it can be fitted for: those whose head reads a vector, or tokens.
    """

    model: str
    engine: str
    head: Head


FLOORS: Mapping[str, Floor] = {
    "tfidf": Floor("lft_ray.models.tfidf:TfidfModel", "sklearn", "vector"),
    "overlap": Floor("lft_ray.models.overlap:OverlapModel", "overlap", "tokens"),
}
"""Family -> how it is fitted, and which engine runs it."""


def floor_model(family: str) -> type[FloorModel]:
    """Return the class of a family's model."""
    found: type[FloorModel] = resolve(FLOORS[family].model, {}, where="family of the model")
    return found
