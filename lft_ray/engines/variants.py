"""Serving variants of a model size: precision x maximum length. Pure; never opens an engine.

In: a `ModelSize` and the ``export`` settings. Out: `Variant`s, starting with the reference: the first precision at the
trained length; a linear model has a length of its own.
"""

from collections.abc import Sequence

from lft_ray.models.sizes import ModelSize
from lft_ray.models.words import MAX_WORDS
from lft_ray.records import Variant

__all__ = ["variants_of"]

LINEAR_PRECISION = "fp32"
"""Linear models have a single variant: a text takes microseconds, whatever its length."""


def variants_of(size: ModelSize, precisions: Sequence[str], max_lengths: Sequence[int]) -> list[Variant]:
    """List the variants of a size, the reference first, then by length, longest first.

    Args:
        size: model size; a linear model has only one variant, which reads `MAX_WORDS` words.
        precisions: values of ``export.precisions``.
        max_lengths: the trained length, then the shorter ones of ``export.max_lengths``, longest first.
    """
    if size.is_linear:
        return [Variant(precision=LINEAR_PRECISION, max_length=MAX_WORDS)]
    return [
        Variant(precision=precision, max_length=length)
        for length in max_lengths
        for precision in dict.fromkeys(precisions)
    ]
