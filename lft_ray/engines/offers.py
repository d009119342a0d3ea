"""Which ways to serve a model size an experiment offers: precision x text length. Pure; opens no engine.

In: an `Experiment` and a `ModelSize`. Out: `Offer`s, the reference first: the first precision at the trained length.
"""

from dataclasses import dataclass

from lft_ray.config import Experiment
from lft_ray.models.base import ModelSize

__all__ = ["Offer", "offers_of"]

LINEAR_PRECISION = "fp32"
"""Linear models have one variant: a text costs them microseconds, whatever its length."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to serve a trained checkpoint."""

    precision: str
    max_length: int


def offers_of(experiment: Experiment, size: ModelSize, *, longest: int | None = None) -> list[Offer]:
    """Ways to serve a size, the reference first, then by length, longest first.

    Args:
        experiment: ``export.precisions``, ``export.max_lengths`` and the trained length.
        size: linear models are offered once.
        longest: tokens of the data's longest text, where known: a shorter length that cuts nothing is the same
            variant as the trained one, and is left out.
    """
    trained = experiment.training.max_length
    if size.is_linear:
        return [Offer(LINEAR_PRECISION, trained)]
    lengths = [n for n in experiment.max_lengths if n == trained or longest is None or n < longest]
    return [Offer(precision, length) for length in lengths for precision in dict.fromkeys(experiment.export.precisions)]
