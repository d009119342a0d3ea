"""Model cascade: the small model predicts where it is confident, the large one on the remaining texts.

In: logits of both models on validation. Out: temperature, threshold, F1 and share. Pure; no files.

The confidence of the small model is the probability of its top label after temperature scaling (Guo et al. 2017,
arXiv:1706.04599). F1 and share are cross-fitted: temperature and threshold are chosen on one half of the validation
rows and measured on the other, both ways round. The deployed values are then chosen on all rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import InputError
from lft_ray.selection.metrics import METRICS, scores

__all__ = ["CascadeEstimate", "cascade_usd", "confidence", "estimate", "fit_temperature"]

_STEPS = 200
"""Thresholds tried, as quantiles of the confidence."""
_TEMPERATURES = (0.05, 20.0)
_MIN_ROWS = 40

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CascadeEstimate:
    """A cascade and its estimated quality.

    Attributes:
        temperature: divisor of the small model's logits; above 1 where the small model is overconfident.
        threshold: minimum confidence at which the small model's prediction is used.
        share: fraction of texts sent to the large model, on rows that were used to choose neither number.
        f1: score of the cascade on those rows.
        small_f1: score of the small model alone, on the same rows.
        large_f1: score of the large model alone, on the same rows.
    """

    temperature: float
    threshold: float
    share: float
    f1: float
    small_f1: float
    large_f1: float


def confidence(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Calibrated probability of the top label, float64 [n], from logits [n, c]."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    # Shifted by the maximum, the exponential of the top label is exactly 1: its softmax is one over the sum.
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    top: NDArray[np.float64] = 1.0 / shifted.sum(axis=1)
    return top


def fit_temperature(logits: Logits, truth: Labels) -> float:
    """The temperature of maximum likelihood, by bounded search over its logarithm.

    Args:
        logits: float [n, c].
        truth: int64 [n], label indices.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    chosen = values[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((np.log(np.exp(values / temperature).sum(axis=1)) - chosen / temperature).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def cascade_usd(small_usd: float, large_usd: float, ingress_usd: float, share: float) -> float:
    """Dollars per million predictions: all texts pass the small model, a share of them also the large one.

    The request itself is paid once: both costs include it, so it is subtracted from that of the large model.

    Args:
        small_usd: cost of the small model alone, in dollars per million, its request included.
        large_usd: cost of the large model alone, its request included.
        ingress_usd: cost of a million requests before any model runs.
        share: fraction of texts sent to the large model.
    """
    return small_usd + share * (large_usd - ingress_usd)


def estimate(
    small: Logits, large: Logits, truth: Labels, *, metric: str, margin: float, seed: int = 0
) -> CascadeEstimate:
    """Choose and measure a cascade: the smallest share for the large model that loses no more than the margin.

    Args:
        small: logits [n, c] of the small model on validation.
        large: logits [n, c] of the large model on the same rows.
        truth: int64 [n], label indices.
        metric: name of the score.
        margin: F1 that may be lost against the large model, as a fraction.
        seed: random seed of the split into halves.

    Raises:
        InputError: there are too few rows or several labels per text, the metric is not supported, or the small model
            alone is within the margin.
    """
    _check(truth, metric)
    half = _halves(truth, seed)
    small_labels, large_labels = small.argmax(axis=1), large.argmax(axis=1)
    predictions, share = np.empty_like(truth), 0.0
    for number in (0, 1):
        chosen, measured = np.flatnonzero(half != number), np.flatnonzero(half == number)
        temperature, threshold = _choose(small[chosen], large[chosen], truth[chosen], metric, margin)
        unsure = confidence(small[measured], temperature) < threshold
        predictions[measured] = np.where(unsure, large_labels[measured], small_labels[measured])
        share += float(unsure.sum()) / len(truth)
    temperature, threshold = _choose(small, large, truth, metric, margin)
    if threshold <= 0.0:
        raise InputError(
            f"the small model alone is within the margin of {margin:g} on validation: no large model is needed",
            fix="deploy it alone, or lower the margin with --set selection.margin=0.002",
        )
    f1, small_f1, large_f1 = (
        float(value) for value in scores(truth, [predictions, small_labels, large_labels], metric)
    )
    return CascadeEstimate(temperature, threshold, share, f1, small_f1, large_f1)


def _check(truth: Labels, metric: str) -> None:
    if truth.ndim != 1:
        raise InputError(
            "a cascade needs a task with one label per text: with several labels there is no single confidence"
        )
    if metric not in METRICS:
        raise InputError(f"a cascade cannot be tuned for {metric!r}: expected one of {', '.join(METRICS)}")
    if len(truth) < _MIN_ROWS:
        raise InputError(f"a cascade needs at least {_MIN_ROWS} validation rows, got {len(truth)}")


def _choose(small: Logits, large: Logits, truth: Labels, metric: str, margin: float) -> tuple[float, float]:
    """Temperature, and the lowest threshold above which no threshold loses more than the margin."""
    temperature = fit_temperature(small, truth)
    confidences = confidence(small, temperature)
    order = np.sort(confidences)
    cuts = np.unique(np.linspace(0, len(truth), _STEPS + 1).astype(np.int64))
    # 0.0 is below every confidence: the large model gets no text. 2.0 is above every one: it gets all texts.
    thresholds = np.array([0.0, *order[cuts[1:-1]], 2.0])
    small_labels, large_labels = small.argmax(axis=1), large.argmax(axis=1)
    runs = [np.where(confidences < threshold, large_labels, small_labels) for threshold in thresholds]
    f1 = scores(truth, runs, metric)
    # The last run is the large model alone. F1 need not rise with the threshold: start after the last one that fails.
    failing = np.flatnonzero(f1 < f1[-1] - margin - 1e-9)
    first = int(failing[-1]) + 1 if failing.size else 0
    return temperature, float(thresholds[first])


def _halves(truth: Labels, seed: int) -> NDArray[np.int64]:
    """Assign each row to half 0 or 1, stratified by label."""
    rng = np.random.default_rng(seed)
    half = np.empty(len(truth), dtype=np.int64)
    # Labels of an odd number of rows take turns in which half gets the extra row.
    turn = 0
    for label in np.unique(truth):
        rows = rng.permutation(np.flatnonzero(truth == label))
        half[rows] = (np.arange(len(rows)) + turn) % 2
        turn += len(rows)
    return half
