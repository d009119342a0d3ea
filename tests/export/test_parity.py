"""Parity of a bundle with the logits of its trainer."""

from dataclasses import replace

import numpy as np
import pytest

from lft_ray.engines.batching import run_sorted
from lft_ray.errors import BundleError
from lft_ray.export.bundle import open_bundle
from lft_ray.export.parity import ParityError, check_parity, compared
from lft_ray.tasks.questions.layout import row_of
from lft_ray.tasks.questions.task import QuestionFacts, Questions
from tests.export.linear_bundles import TEXTS, linear_bundle, linear_model

MANY = [f"{text} {number}" for text in TEXTS for number in range(20)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return linear_bundle(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def logits(bundle):
    return run_sorted(open_bundle(bundle).open_runner(), MANY)


def test_check_parity_reports_full_agreement(bundle, logits):
    report = check_parity(bundle, MANY, logits)
    assert (report.texts, report.agreement, report.ties) == (60, 1.0, 0)
    assert report.largest_score_change < 1e-4


def test_check_parity_refuses_other_labels_than_in_training(bundle, logits):
    with pytest.raises(
        ParityError, match=r"of 60 texts the prediction that training measured; at fp32 at least 0\.999"
    ):
        check_parity(bundle, MANY, np.roll(logits, 1, axis=1))


def test_check_parity_refuses_one_other_label_among_sixty(bundle, logits):
    other = logits.copy()
    other[0] = np.roll(other[0], 1)
    with pytest.raises(ParityError, match=r"gives 0\.9833 of 60 texts"):
        check_parity(bundle, MANY, other)


def test_answers_at_other_places_are_no_ties():
    """Models that cut one character off each answer, each as probable as the right one."""
    task = Questions(QuestionFacts(has_none=False, by_character=False, longest_tokens=30))
    spans = np.array([[[start, start + 5, 4.0]] for start in range(20)])
    expected = np.stack([row_of(one, 4.0, 0.0) for one in spans])
    moved = np.stack([row_of(np.add(one, [0, 1, 0]), 4.0, 0.0) for one in spans])
    assert compared(task, expected, expected, precision="fp32", what="it").agreement == 1.0
    with pytest.raises(ParityError, match=r"it gives 0\.0000 of 20 texts"):
        compared(task, moved, expected, precision="fp32", what="it")


def test_check_parity_refuses_another_number_of_outputs(bundle, logits):
    with pytest.raises(BundleError, match=r"\(60, 3\) outputs.*trainer's are \(60, 2\)"):
        check_parity(bundle, MANY, logits[:, :2])


def test_check_parity_does_not_count_a_tie_as_disagreement(tmp_path):
    tied = replace(linear_model(), intercept=np.array([4e-4, 0.0, -9.0], dtype=np.float32))
    bundle = linear_bundle(tmp_path, model=tied)
    swapped = np.array([[0.0, 4e-4, -9.0]], dtype=np.float32)
    report = check_parity(bundle, ["unknown vocabulary"], swapped)
    assert (report.agreement, report.ties) == (1.0, 1)
    assert 0 < report.largest_score_change < 1e-3
