"""Weighted metrics of labels against scikit-learn, and the strata of rows."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.judging import WeightedMean, WeightedRatio
from lft_ray.tasks.label_metrics import METRIC_NAMES, LabelMetric, rarest_label
from tests.selection.labels import LABELS, scores

METRICS = list(METRIC_NAMES)


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
    task = Classification(LABELS)
    runs = [task.row_scores(truth, run) for run in (predicted, truth)]
    found = task.weighted_metric(metric, runs)(weights)
    assert found.shape == (5, 2)
    assert found[:, 0] == pytest.approx([by_sklearn(truth, predicted, metric, row) for row in weights], abs=1e-9)


def test_rows_of_several_labels_go_by_their_rarest_one():
    truth = np.zeros((40, 2), dtype=bool)
    truth[:30, 0] = truth[:8, 1] = True
    assert np.bincount(rarest_label(truth)).tolist() == [22, 8, 10]


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="rmse"):
        LabelMetric("rmse", np.ones((2, 1), bool), [np.ones((2, 1), bool)])


def test_means_and_ratios_of_row_scores():
    runs = [np.array([[1.0, 2.0], [0.5, 1.0], [0.0, 4.0]]), np.array([[1.0, 0.0]] * 3)]
    weights = np.array([[1, 1, 1], [2, 0, 0]], dtype=np.float32)
    assert WeightedMean(runs)(weights) == pytest.approx(np.array([[0.5, 1.0], [1.0, 1.0]]))
    assert WeightedRatio(runs, 0, 1)(weights) == pytest.approx(np.array([[1.5 / 7, 0.0], [0.5, 0.0]]))
