"""Bootstrap weights of rows, drawn within strata. In: a stratum for each row. Out: arrays. NumPy only."""

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.judging import Weights

__all__ = ["bootstrap_weights", "grouped"]

MIN_STRATUM_ROWS = 5
"""Strata with fewer rows share one: a stratum of one row would never vary in the bootstrap and look certain."""


def grouped(strata: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Group rows by stratum.

    Args:
        strata: stratum of each row, int64 [n], from 0.

    Returns:
        The order that puts the rows of a stratum side by side, and for each row in that order the first position of its
        stratum and the number of rows in it.
    """
    sizes = np.bincount(strata)
    key = np.where(sizes[strata] < MIN_STRATUM_ROWS, len(sizes), strata)
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    return order, np.repeat(first, count).astype(np.int32), np.repeat(count, count).astype(np.float32)


def bootstrap_weights(
    rng: np.random.Generator, starts: NDArray[np.int32], sizes: NDArray[np.float32], count: int
) -> Weights:
    """Bootstrap weights: how often each row is drawn, with replacement within its stratum, float32 [count, n]."""
    rows = len(starts)
    # float32 rounding can yield exactly ``sizes``: clip, or a draw would land in the next stratum.
    within = np.minimum(rng.random((count, rows), dtype=np.float32) * sizes, sizes - 1).astype(np.int32)
    picked = within + starts + np.arange(count, dtype=np.int64)[:, None] * rows
    return np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float32)
