"""Which ways to serve a model size an experiment offers: precision x text length. Pure; opens no engine.

In: a `ModelSize` and what ``export`` asks for. Out: `Variant`s, the reference first: the first precision at the trained
length.
"""

from collections.abc import Sequence

from lft_ray.models.sizes import ModelSize
from lft_ray.records import Variant

__all__ = ["variants_of"]

LINEAR_PRECISION = "fp32"
"""Linear models have one variant: a text costs them microseconds, whatever its length."""


def variants_of(size: ModelSize, precisions: Sequence[str], max_lengths: Sequence[int]) -> list[Variant]:
    """Ways to serve a size, the reference first, then by length, longest first.

    Args:
        size: linear models are offered once.
        precisions: ``export.precisions``.
        max_lengths: the trained length, then the shorter ones of ``export.max_lengths``, longest first.
    """
    if size.is_linear:
        return [Variant(precision=LINEAR_PRECISION, max_length=max_lengths[0])]
    return [
        Variant(precision=precision, max_length=length)
        for length in max_lengths
        for precision in dict.fromkeys(precisions)
    ]
