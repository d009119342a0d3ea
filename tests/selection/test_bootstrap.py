"""Strata and weights of the bootstrap."""

import numpy as np
import pytest

from lft_ray.selection.bootstrap import bootstrap_weights, grouped


def test_rows_are_drawn_within_their_label_and_rare_labels_together():
    truth = np.array([0] * 50 + [1] * 30 + [2] * 2 + [3] * 1)
    order, starts, sizes = grouped(truth)
    drawn = bootstrap_weights(np.random.default_rng(0), starts, sizes, 500)
    label = truth[order]
    assert (drawn[:, label == 0].sum(axis=1) == 50).all()
    assert (drawn[:, label == 1].sum(axis=1) == 30).all()
    assert (drawn[:, label >= 2].sum(axis=1) == 3).all()
    assert drawn[:, label == 3].std() > 0.5
    assert drawn.mean(axis=0) == pytest.approx(np.ones(83), abs=0.25)
