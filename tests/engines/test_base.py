"""Padding of a batch."""

import numpy as np

from lft_ray.engines.base import padded


def test_padded_fills_on_the_right_to_the_longest_text():
    ids, mask = padded([[5, 6, 7], [8]], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_padded_masks_by_length_even_where_a_token_is_the_pad_id():
    assert padded([[9, 9]], pad_id=9)[1].tolist() == [[1, 1]]
