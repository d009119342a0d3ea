"""Token ids of several texts as one rectangle. In: id lists. Out: ids and mask, int64 [n, t]. Numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded

__all__ = ["padded"]


def padded(batch: Sequence[Encoded], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill texts up to the longest of them, on the right.

    Args:
        batch: n id lists, none of them empty.
        pad_id: what stands behind a shorter text.

    Returns:
        Ids and mask (1 = token), both int64 [n, t].
    """
    width = max(len(ids) for ids in batch)
    ids = np.full((len(batch), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(batch), width), dtype=np.int64)
    for row, own in enumerate(batch):
        ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
    return ids, mask
