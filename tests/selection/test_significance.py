"""The bootstrap against scikit-learn, against formulas, and against data whose truth is known."""

import math

import numpy as np
import pytest

from benchmarks.selection_coverage import Population, coverage, optimism
from lft_ray.selection.bootstrap import bootstrap_weights, grouped
from lft_ray.selection.significance import Difference, holm_levels, student_t
from lft_ray.tasks.label_metrics import METRIC_NAMES
from tests.selection.labels import sample as sample_of
from tests.tasks.test_label_metrics import by_sklearn


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_a_replicate_is_scikit_learns_score_of_the_drawn_rows(metric):
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    found = sample_of(truth, [[predicted]], metric=metric, replicates=3, seed=5).replicates[0][:, 0]
    order, starts, sizes = grouped(truth)
    drawn = bootstrap_weights(np.random.default_rng([5, 0]), starts, sizes, 3)
    expected = [by_sklearn(truth[order], predicted[order], metric, weights) for weights in drawn]
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_row_part_is_that_of_a_share_and_common_errors_cancel():
    rng = np.random.default_rng(2)
    truth = np.zeros(2000, dtype=np.int64)
    hard, apart = rng.random(2000) < 0.2, rng.random(2000) < 0.05
    best, other = np.where(hard, 1, 0), np.where(hard | apart, 1, 0)
    sample = sample_of(truth, [[best], [other]], metric="accuracy", replicates=4000)
    found, share = sample.difference(1, 0), (~hard & apart).mean()
    assert found.loss == pytest.approx(share)
    # Rows that both get wrong say nothing of the difference: its variance is that of the rows that differ.
    assert found.rows_variance == pytest.approx(share * (1 - share) / 2000, rel=0.1)
    assert found.seeds_variance == 0.0
    assert not sample.covers_seeds
    assert found.upper() == pytest.approx(share + 1.645 * math.sqrt(share * (1 - share) / 2000), rel=0.03)


def test_equal_seeds_give_equal_bounds():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 200)
    runs = [[np.where(rng.random(200) < 0.1, 0, truth) for _ in range(3)] for _ in range(2)]
    first, again = (sample_of(truth, runs, replicates=300, seed=7).difference(1, 0).upper() for _ in range(2))
    assert first == again
    assert first != sample_of(truth, runs, replicates=300, seed=8).difference(1, 0).upper()


def test_a_model_that_no_seed_changes_adds_no_seed_noise():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 400)
    fixed = np.where(rng.random(400) < 0.2, 0, truth)
    # Seeds that differ by far more than luck with 400 rows explains.
    moved = [np.where(rng.random(400) < share, 1 - truth, truth) for share in (0.02, 0.12, 0.22)]
    alone = sample_of(truth, [[fixed, fixed], [fixed, fixed]], replicates=500)
    assert alone.covers_seeds
    assert alone.difference(1, 0).seeds_variance == 0.0
    mixed = sample_of(truth, [[fixed, fixed, fixed], moved], replicates=4000)
    spread = float(np.var(mixed.observed[1], ddof=1))
    # Only a twentieth or so of that spread is luck with the rows.
    assert mixed.difference(1, 0).seeds_variance == pytest.approx(spread / 3, rel=0.1)
    assert mixed.difference(1, 0).degrees_of_freedom >= 2


def test_two_ways_to_serve_the_same_seeds_differ_by_rows_alone():
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 400)
    seeds = [np.where(rng.random(400) < share, 1 - truth, truth) for share in (0.05, 0.15)]
    rounded = [np.where(np.arange(400) == row, 1 - predicted, predicted) for row, predicted in enumerate(seeds)]
    other = [np.where(rng.random(400) < 0.2, 1 - truth, truth)]
    run_ids = [["c1", "c2"], ["c1", "c2"], ["c3"]]
    plain = sample_of(truth, [seeds, rounded, other], replicates=2000)
    named = sample_of(truth, [seeds, rounded, other], replicates=2000, run_ids=run_ids)
    assert named.difference(1, 0).seeds_variance == 0.0 < plain.difference(1, 0).seeds_variance
    assert named.difference(1, 0).degrees_of_freedom == math.inf
    assert named.difference(1, 0).upper() < 0.0101 < plain.difference(1, 0).upper()
    assert named.difference(2, 0).upper() == plain.difference(2, 0).upper()


def test_few_seeds_never_have_less_than_their_own_freedom():
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 400)
    # Two seeds whose difference is all luck with the rows: their guessed variance exceeds the total.
    pair = [np.where(rng.random(400) < 0.1, 1 - truth, truth) for _ in range(2)]
    single = [np.where(rng.random(400) < 0.1, 1 - truth, truth)]
    found = sample_of(truth, [pair, single], replicates=2000).difference(1, 0)
    assert found.degrees_of_freedom >= 1.0
    assert found.upper() < 0.5


def difference(loss, error, *, seeds_variance=0.0, rows=1000):
    grid = np.random.default_rng(0).normal(0, math.sqrt(error**2 + seeds_variance), 20_000)
    return Difference(loss, grid - grid.mean(), error**2, seeds_variance, math.inf, rows)


def test_rows_needed_follow_the_square_of_the_distance():
    # Half-width 1.645 x 0.01 at 1,000 rows; it must shrink to 0.005 - 0.001.
    needed = difference(0.001, 0.01).rows_needed(0.005)
    assert needed == pytest.approx(1000 * (1.645 * 0.01 / 0.004) ** 2, rel=0.05)
    assert difference(0.009, 0.01).rows_needed(0.005) == pytest.approx(needed, rel=0.05)
    more = difference(0.001, 0.01, seeds_variance=0.002**2).rows_needed(0.005)
    assert needed < more < 5 * needed
    assert difference(0.001, 0.01, seeds_variance=0.003**2).rows_needed(0.005) is None


def test_holm_levels_are_strictest_for_the_most_certain_and_stop_at_the_first_failure():
    sure, likely, unsure = difference(-0.02, 0.004), difference(-0.003, 0.004), difference(0.004, 0.004)
    assert holm_levels([unsure, sure, likely], 0.005) == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])
    # 0.005 - (-0.003) = 2 standard errors: enough for 0.975, not for one of two that must both hold after a failure.
    failed = holm_levels([difference(-0.0015, 0.004), difference(-0.001, 0.004)], 0.005)
    assert failed == pytest.approx([0.975, 0.975])
    assert holm_levels([], 0.005) == []


def test_students_quantiles_are_those_of_the_tables():
    found = [student_t(0.95, 2), student_t(0.95, 4), student_t(0.975, 10), student_t(0.95, math.inf)]
    assert found == pytest.approx([2.920, 2.132, 2.228, 1.645], rel=0.015)


def test_predictions_of_another_shape_are_refused():
    truth = np.array([0, 1])
    with pytest.raises(ValueError, match="same shape"):
        sample_of(truth, [[np.array([0, 1, 1])]])
    with pytest.raises(ValueError, match="rmse"):
        sample_of(truth, [[truth]], metric="rmse")


@pytest.mark.parametrize("seed_spread", [0.0, 0.05])
def test_the_true_loss_is_under_the_bound_in_93_of_100_cases(seed_spread):
    shares = coverage(Population(seed_spread=seed_spread), cases=300, rows=400, seeds=3, replicates=400, seed=1)
    assert shares["covered"] >= 0.93
    # The observed loss, taken at its word, is too low half the time.
    assert shares["naive_covered"] < 0.7
    assert shares["falsely_proven"] <= 0.07


def test_fresh_seeds_take_most_of_the_optimism_out_of_the_pick():
    found = optimism(Population(seed_spread=0.08), searches=60, trials=20, rows=2000, seeds=3, seed=2)
    assert found["naive"] > 0.008
    assert abs(found["fresh"]) < 0.6 * found["naive"]
