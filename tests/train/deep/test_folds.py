"""Folds and out-of-fold probabilities."""

import numpy as np
import pytest

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.train.deep.folds import fold_of_rows, out_of_fold


def test_folds_keep_groups_together_and_spread_labels():
    groups = np.repeat(np.arange(200, dtype=np.uint64), 2)
    strata = [("a", "b", "b", "b")[int(group) % 4] for group in groups]
    fold = fold_of_rows(groups, strata, seed=0)
    assert (fold[::2] == fold[1::2]).all()
    counts = np.array([[sum((fold == n) & (np.array(strata) == s)) for n in range(5)] for s in "ab"])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 2).all()
    assert (fold == fold_of_rows(groups, strata, seed=0)).all()
    assert (fold != fold_of_rows(groups, strata, seed=1)).any()


def blobs(rows: int, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.arange(rows) % labels
    centres = generator.normal(0, 2, (labels, 8))
    return (centres[truth] + generator.normal(0, 1, (rows, 8))).astype(np.float32), truth


@pytest.mark.parametrize("as_sparse", [False, True])
def test_probabilities_follow_the_truth_and_not_the_flips(as_sparse):
    from scipy.sparse import csr_matrix

    features, truth = blobs(300, 3, 0)
    given = truth.copy()
    given[::10] = (given[::10] + 1) % 3
    view = csr_matrix(features) if as_sparse else features
    fold = fold_of_rows(np.arange(300, dtype=np.uint64), [str(one) for one in given], seed=0)
    task = Classification(["a", "b", "c"])
    found = out_of_fold([view], given, task, fold, seed=0)
    assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (found.argmax(axis=1) == truth).mean() > 0.95
    assert (found == out_of_fold([view], given, task, fold, seed=0)).all()


def test_views_are_averaged_and_several_labels_are_possible():
    features, truth = blobs(200, 2, 1)
    targets = np.stack([truth, 1 - truth], axis=1).astype(np.float32)
    fold = fold_of_rows(np.arange(200, dtype=np.uint64), [str(one) for one in truth], seed=0)
    from scipy.sparse import csr_matrix

    task = Multilabel(["a", "b"])
    both = out_of_fold([features, csr_matrix(features)], targets, task, fold, seed=0)
    parts = [out_of_fold([view], targets, task, fold, seed=0) for view in (features, csr_matrix(features))]
    assert both == pytest.approx(sum(parts) / 2)
    assert ((both > 0.5) == (targets > 0.5)).mean() > 0.95


def test_a_label_that_occurs_in_one_fold_only_is_not_predicted_and_does_not_fail():
    features, truth = blobs(50, 2, 2)
    targets = truth.copy()
    targets[0] = 2
    fold = fold_of_rows(np.arange(50, dtype=np.uint64), [str(one) for one in targets], seed=0)
    from scipy.sparse import csr_matrix

    for view in (features, csr_matrix(features)):
        found = out_of_fold([view], targets, Classification(["a", "b", "c"]), fold, seed=0)
        assert np.isfinite(found).all()
        assert found[0, 2] < 0.34
