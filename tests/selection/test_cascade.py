import numpy as np
import pytest

from lft_ray.errors import InputError
from lft_ray.selection import cascade
from lft_ray.selection.cascade import cascade_usd
from lft_ray.tasks.calibration import fit_temperature, top_probability
from tests.selection.labels import scorer, scores


def estimate(small, large, truth, *, metric="macro_f1", **options):
    return cascade.estimate(small, large, truth, scorer=scorer(truth, metric), **options)


def study(rows=4000, *, classes=4, small=2.6, large=3.5, scale=1.0, seed=0):
    """Logits of two models whose noise agrees on hard rows; ``scale`` makes the small one overconfident."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    hard = rng.exponential(1.0, rows)[:, None]
    one_hot = np.eye(classes)[truth]
    noise = rng.normal(size=(rows, classes)) * hard
    return (
        scale * (small * one_hot + noise),
        large * one_hot + 0.6 * noise + 0.4 * rng.normal(size=(rows, classes)),
        truth,
    )


def test_fit_temperature_recovers_the_temperature_of_the_labels():
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.normal(size=(20000, 5))
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in odds])
    assert fit_temperature(3.0 * logits, truth) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(logits, truth) == pytest.approx(1.0, rel=0.05)


def test_confidence_is_the_best_probability():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    expected = np.exp([1.0, 0.0, -0.5])
    assert top_probability(logits, 2.0) == pytest.approx([expected[0] / expected.sum(), 1 / 3])


def test_a_cascade_stays_within_the_margin_on_rows_that_did_not_choose_it():
    small, large, truth = study()
    found = estimate(small, large, truth, margin=0.01)
    assert found.large_f1 > found.small_f1 + 0.05
    assert found.f1 >= found.large_f1 - 0.015  # the margin, and what half of the rows leaves open
    assert 0.1 < found.share < 0.9
    again = scores(truth, [small.argmax(axis=1), large.argmax(axis=1)])
    assert (found.small_f1, found.large_f1) == pytest.approx(tuple(again))


def test_a_wider_margin_lowers_the_share_of_the_large_model():
    small, large, truth = study()
    shares = [estimate(small, large, truth, margin=margin).share for margin in (0.0, 0.01, 0.03, 0.05)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] + 0.1


def test_overconfidence_changes_the_temperature_and_nothing_else():
    plain, sure = (estimate(*study(scale=scale), metric="accuracy", margin=0.01) for scale in (1.0, 4.0))
    assert sure.temperature == pytest.approx(4.0 * plain.temperature, rel=0.01)
    assert (sure.threshold, sure.share, sure.f1) == pytest.approx((plain.threshold, plain.share, plain.f1), abs=0.01)


def test_estimate_measures_on_rows_that_did_not_choose():
    """With random labels the rows used for choosing look better than the others, whose score is reported."""
    rng = np.random.default_rng(1)
    optimism = []
    for seed in range(20):
        small, large = rng.normal(size=(120, 2)), rng.normal(size=(120, 2))
        truth = rng.integers(0, 2, 120)
        try:
            found = estimate(small, large, truth, metric="accuracy", margin=0.0, seed=seed)
        except InputError:
            continue
        unsure = top_probability(small, found.temperature) < found.threshold
        predictions = np.where(unsure, large.argmax(axis=1), small.argmax(axis=1))
        optimism.append(float((predictions == truth).mean()) - found.f1)
    assert np.mean(optimism) > 0.0


def test_a_small_model_that_needs_no_help_is_refused():
    small, large, truth = study(small=3.0, large=1.0)
    with pytest.raises(InputError, match="no large model is needed"):
        estimate(small, large, truth, margin=0.005)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((50, 3), dtype=bool), "one confidence each, and multilabel has none"),
        (np.zeros(10, dtype=np.int64), "at least 40"),
    ],
)
def test_what_cannot_be_a_cascade_is_refused(truth, message):
    with pytest.raises(InputError, match=message):
        estimate(np.zeros((len(truth), 3)), np.zeros((len(truth), 3)), truth, margin=0.01)


def test_dollars_count_the_request_once():
    assert cascade_usd(0.05, 0.25, 0.01, 0.25) == pytest.approx(0.05 + 0.25 * 0.24)
    assert cascade_usd(0.05, 0.25, 0.01, 0.0) == 0.05
