"""Weighted scores against scikit-learn, and the strata of the bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from lft_ray.selection.metrics import METRICS, WeightedScores, bootstrap_weights, scores, strata


def by_sklearn(truth, predicted, metric, weights=None):
    if metric == "accuracy":
        return accuracy_score(truth, predicted, sample_weight=weights)
    average = metric.removesuffix("_f1")
    return f1_score(truth, predicted, average=average, sample_weight=weights, zero_division=0)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_scikit_learns(metric):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, 300), rng.integers(0, 7, 300)
    assert scores(truth, [predicted, truth], metric) == pytest.approx(
        [by_sklearn(truth, predicted, metric), 1.0], abs=1e-9
    )
    several, given = rng.random((300, 6)) < 0.2, rng.random((300, 6)) < 0.3
    expected = by_sklearn(several, given, metric)
    assert scores(several, [given], metric) == pytest.approx([expected], abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_an_absent_label_changes_no_score(metric):
    rng = np.random.default_rng(0)
    several, given = rng.random((300, 5)) < 0.2, rng.random((300, 5)) < 0.3
    wider = [np.hstack([part, np.zeros((300, 1), dtype=bool)]) for part in (several, given)]
    assert scores(wider[0], [wider[1]], metric) == pytest.approx(scores(several, [given], metric), abs=1e-12)
    assert scores(wider[0], [wider[0]], metric) == pytest.approx([1.0])


@pytest.mark.parametrize("metric", METRICS)
def test_weighted_scores_are_scikit_learns_under_sample_weights(metric):
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    weights = rng.integers(0, 3, (5, 50)).astype(np.float32)
    found = WeightedScores(truth, [predicted, truth], metric).scores(weights)
    assert found.shape == (5, 2)
    assert found[:, 0] == pytest.approx([by_sklearn(truth, predicted, metric, row) for row in weights], abs=1e-9)


def test_rows_are_drawn_within_their_label_and_rare_labels_together():
    truth = np.array([0] * 50 + [1] * 30 + [2] * 2 + [3] * 1)
    order, starts, sizes = strata(truth)
    drawn = bootstrap_weights(np.random.default_rng(0), starts, sizes, 500)
    label = truth[order]
    assert (drawn[:, label == 0].sum(axis=1) == 50).all()
    assert (drawn[:, label == 1].sum(axis=1) == 30).all()
    assert (drawn[:, label >= 2].sum(axis=1) == 3).all()
    assert drawn[:, label == 3].std() > 0.5
    assert drawn.mean(axis=0) == pytest.approx(np.ones(83), abs=0.25)


def test_rows_of_several_labels_go_by_their_rarest_one():
    truth = np.zeros((40, 2), dtype=bool)
    truth[:30, 0] = truth[:8, 1] = True
    _, _, sizes = strata(truth)
    assert sorted(set(sizes.tolist())) == [8.0, 10.0, 22.0]
