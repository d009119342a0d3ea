"""Scores of suspected label errors, on probabilities made by hand."""

import numpy as np
import pytest

from lft_ray.train.deep.noise import LIKELY, POSSIBLE, binary, confident_errors, scored


def of_truth(truth: np.ndarray, sure: float, seed: int, labels: int = 3) -> np.ndarray:
    """Probabilities of a good model: ``sure`` on average for the true label."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 0.5, (len(truth), labels))
    logits[np.arange(len(truth)), truth] += np.log(sure / (1 - sure) * (labels - 1))
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def test_flipped_labels_are_found_and_right_ones_are_not():
    truth = np.arange(600) % 3
    probabilities = of_truth(truth, 0.95, 0)
    given = truth.copy()
    wrong = np.zeros(600, bool)
    wrong[::20] = True
    given[wrong] = (given[wrong] + 1) % 3
    found = scored(probabilities, given)
    assert (found.score[wrong] >= LIKELY).all()
    assert (found.score[~wrong] < POSSIBLE).mean() > 0.95
    assert (found.suggested[wrong] == truth[wrong]).all()
    assert confident_errors(probabilities, given)[wrong].mean() > 0.5
    assert not confident_errors(probabilities, given)[~wrong].any()


def test_a_confusion_that_the_data_shows_needs_less_evidence():
    truth = np.arange(900) % 3
    probabilities = of_truth(truth, 0.9, 1)
    given = truth.copy()
    given[0:300:3] = 1  # a third of label 0 is given as 1
    # Two rows given as 1: the probabilities speak as clearly for 0 in the first as for 2 in the second.
    probabilities[[1, 4]] = [[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]]
    found = scored(probabilities, given)
    assert found.suggested[1] == 0
    assert found.score[1] > found.score[4] + 1


def test_rare_labels_are_not_suggested_for_every_row():
    truth = np.array([0] * 900 + [1] * 20)
    probabilities = of_truth(truth, 0.8, 2, labels=2)
    found = scored(probabilities, truth)
    assert (found.score >= LIKELY).mean() < 0.05


def test_a_label_without_rows_is_neither_suggested_nor_an_error():
    truth = np.arange(100) % 2
    found = scored(of_truth(truth, 0.9, 3), truth)
    assert np.isfinite(found.score).all()
    assert set(found.suggested.tolist()) <= {0, 1, 2}
    assert (found.score < LIKELY).mean() > 0.95


def test_binary_is_under_equal_shares():
    given = np.array([1.0, 0.0, 0.0, 0.0])
    probabilities, carries = binary(np.array([0.25, 0.25, 0.0, 1.0]), given)
    assert carries.tolist() == [1, 0, 0, 0]
    assert probabilities[:, 1] == pytest.approx([0.5, 0.5, 0.0, 1.0])
    assert np.isfinite(binary(np.array([0.5]), np.array([1.0]))[0]).all()
