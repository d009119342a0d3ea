"""Validation predictions of runs, and whether they are those that were scored. In: arrays. Out: `Evidence`. Pure.

Predictions must reproduce the recorded F1: those of a task with its own decoding, or of other rows, are not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lft_ray.selection.metrics import METRICS, scores

__all__ = ["F1_TOLERANCE", "Evidence", "Key"]

Key = tuple[str, str, int]
"""Identity of a point: trial id, precision and max length."""
F1_TOLERANCE = 1e-6
"""Predictions must reproduce the recorded F1 this closely."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Predictions of several runs on the validation split.

    Attributes:
        truth: int64 [n], label indices, or bool [n, c] for several labels per text.
        predictions: (trial id of the run, precision, max length) -> array of the shape of ``truth``.
        seed: random seed of the bootstrap.
    """

    truth: NDArray[Any]
    predictions: Mapping[Key, NDArray[Any]]
    seed: int = 0

    def of(self, keys: Sequence[Key], recorded: Sequence[float], metric: str) -> list[NDArray[Any]] | None:
        """The predictions of these runs; None if one is missing, or if they do not give the recorded F1.

        Args:
            keys: identities of the runs.
            recorded: F1 of each run, as its trial recorded it.
            metric: name of the score.
        """
        if metric not in METRICS or not keys or not all(key in self.predictions for key in keys):
            return None
        found = [self.predictions[key] for key in keys]
        return found if (abs(scores(self.truth, found, metric) - recorded) <= F1_TOLERANCE).all() else None
