"""Intervals of scores, and test against validation."""

import numpy as np
import pytest

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.selection.decide import decide
from lft_ray.selection.intervals import agreement_sentence, f1_intervals, interval_key
from tests.selection.builders import trial
from tests.selection.labels import intervals, sample, scores
from tests.selection.test_verdict import study


def test_the_interval_of_a_score_is_that_of_its_standard_error():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 2000)
    predicted = np.where(rng.random(2000) < 0.1, 1 - truth, truth)
    ((low, high),) = intervals(truth, [predicted], metric="accuracy")
    assert high - low == pytest.approx(2 * 1.96 * (0.1 * 0.9 / 2000) ** 0.5, rel=0.1)
    assert low < scores(truth, [predicted], "accuracy")[0] < high
    both, alone = intervals(truth, [predicted, truth])[0], intervals(truth, [predicted])[0]
    assert both == pytest.approx(alone), "other runs change nothing"
    ((low, high),) = intervals(truth, [truth])
    assert (low, high) == (pytest.approx(1.0 - 3.69 / 2000, abs=1e-5), 1.0), "no error on 2,000 rows is not no error"


def test_intervals_cover_the_true_score():
    rng, held = np.random.default_rng(2), 0
    for case in range(200):
        truth = rng.integers(0, 3, 150)
        predicted = np.where(rng.random(150) < 0.2, (truth + 1) % 3, truth)
        low, high = intervals(truth, [predicted], metric="accuracy", seed=case)[0]
        held += low <= 0.8 <= high
    assert held >= 180, f"{held} of 200: 95% were promised"


def test_a_mean_over_seeds_has_a_wider_interval_where_the_seeds_differ():
    rng = np.random.default_rng(3)
    truth, hardness = rng.integers(0, 3, 3000), rng.random(3000)
    runs = [np.where(hardness < share, (truth + 1) % 3, truth) for share in (0.07, 0.13)]
    apart, alike = (sample(truth, [pair], replicates=2000).interval(0) for pair in (runs, [runs[0]] * 2))
    assert apart[1] - apart[0] > 2 * (alike[1] - alike[0])


def test_only_predictions_that_reproduce_the_score_get_an_interval():
    records, evidence = study([0.1], rows=300, seeds=1)
    both = {interval_key("t0", "fp32", 128), interval_key("c0", "fp32", 128)}
    assert set(f1_intervals(records, evidence)) == both
    moved = [records[0].replace(variants=[records[0].variants[0].replace(f1=0.5)]), records[1]]
    assert set(f1_intervals(moved, evidence)) == {interval_key("c0", "fp32", 128)}
    assert f1_intervals(records, None) == {}


def selection(test, validation):
    choice = decide([trial("t1", "m:1", validation, 0.01)], SelectionSpec(), CostSpec())
    ends = [(f1 - 0.03, f1 + 0.03) for f1 in (test, validation)]
    return choice.replace(
        test_f1=test, test_rows=400, checkpoint_f1=validation, test_f1_interval=ends[0], checkpoint_f1_interval=ends[1]
    )


def test_test_and_validation_agree_within_both_their_errors():
    assert agreement_sentence(selection(0.69, 0.72), "macro-F1") == (
        "Test macro-F1 of checkpoint t1 0.690 (95% 0.660 to 0.720), 400 rows, agrees with its validation macro-F1 "
        "0.720 (95% 0.690 to 0.750)."
    )
    below = agreement_sentence(selection(0.633, 0.719), "macro-F1")
    assert "is 8.6 points below its validation macro-F1 0.719" in below
    assert below.endswith("so the two splits differ, or the choice has fitted the validation rows.")
    above = agreement_sentence(selection(0.80, 0.719), "macro-F1")
    assert "is 8.1 points above" in above
    assert "fitted" not in above
    assert agreement_sentence(selection(0.6, 0.7).replace(test_f1=None), "macro-F1") == ""
    unknown = selection(0.6, 0.7).replace(test_f1_interval=None)
    assert agreement_sentence(unknown, "macro-F1").endswith("no interval could be computed.")


def test_perfect_scores_on_few_rows_do_not_make_the_splits_differ():
    truth = np.arange(60) % 3
    missed = np.where(np.arange(60) == 7, (truth + 1) % 3, truth)
    perfect, one_error = intervals(truth, [truth, missed])
    f1 = float(scores(truth, [missed])[0])
    chosen = selection(f1, 1.0).replace(test_f1_interval=one_error, checkpoint_f1_interval=perfect, test_rows=60)
    assert ", agrees with its validation macro-F1 1.000" in agreement_sentence(chosen, "macro-F1")
