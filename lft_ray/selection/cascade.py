"""Two models of one study as one: the small one answers where it is sure, the large one the rest. In: what both said
on validation. Out: temperature, threshold, F1 and share. Pure; no files.

The small model's confidence is its best label's probability after temperature scaling (Guo et al. 2017,
arXiv:1706.04599). Temperature and threshold are chosen on one half of the validation rows and measured on the other,
both ways round; what is deployed is then chosen on all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import InputError
from lft_ray.selection.metrics import METRICS, scores

__all__ = ["CascadeEstimate", "cascade_usd", "confidence", "estimate", "fit_temperature"]

_STEPS = 200
_TEMPERATURES = (0.05, 20.0)
_LEAST_ROWS = 40

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CascadeEstimate:
    """What a cascade would do.

    Attributes:
        temperature: by which the small model's logits are divided; above 1 where it is too sure of itself.
        threshold: least confidence with which the small model answers alone.
        share: of the texts that the large model is asked, on rows that chose neither number.
        f1: on those rows.
        small_f1: of the small model alone, on the same rows.
        large_f1: of the large one.
    """

    temperature: float
    threshold: float
    share: float
    f1: float
    small_f1: float
    large_f1: float


def confidence(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Calibrated probability of the best label, float64 [n], of logits [n, c]."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    best: NDArray[np.float64] = 1.0 / raised.sum(axis=1)
    return best


def fit_temperature(logits: Logits, truth: Labels) -> float:
    """The temperature that makes the truth likeliest, by bounded search over its logarithm.

    Args:
        logits: [n, c].
        truth: [n] label numbers.
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
    """Dollars per million: every text through the small model, a share through the large one too, one request each.

    Args:
        small_usd: of the small model alone, its request included.
        large_usd: of the large one alone, its request included.
        ingress_usd: of a million requests before any model is asked.
        share: of texts that the large one is asked.
    """
    return small_usd + share * (large_usd - ingress_usd)


def estimate(
    small: Logits, large: Logits, truth: Labels, *, metric: str, margin: float, seed: int = 0
) -> CascadeEstimate:
    """Choose and measure a cascade: the least share of texts for the large model that loses no more than the margin.

    Args:
        small: logits [n, c] of the small model on validation.
        large: logits [n, c] of the large one, same rows.
        truth: [n] label numbers.
        metric: name of the score.
        margin: F1 that may be lost against the large model, as a fraction.
        seed: of the halves.

    Raises:
        InputError: too few rows, several labels a text, a metric that is not ours, or the small model needs no help.
    """
    _check(truth, metric)
    half = _halves(truth, seed)
    sure, asked = small.argmax(axis=1), large.argmax(axis=1)
    answers, share = np.empty_like(truth), 0.0
    for number in (0, 1):
        chosen, measured = np.flatnonzero(half != number), np.flatnonzero(half == number)
        temperature, threshold = _choose(small[chosen], large[chosen], truth[chosen], metric, margin)
        unsure = confidence(small[measured], temperature) < threshold
        answers[measured] = np.where(unsure, asked[measured], sure[measured])
        share += float(unsure.sum()) / len(truth)
    temperature, threshold = _choose(small, large, truth, metric, margin)
    if threshold <= 0.0:
        raise InputError(
            f"the small model alone loses no more than the margin of {margin:g} on validation: it needs no large one",
            fix="deploy it alone, or lower the margin with --set selection.margin=0.002",
        )
    f1, small_f1, large_f1 = (float(value) for value in scores(truth, [answers, sure, asked], metric))
    return CascadeEstimate(temperature, threshold, share, f1, small_f1, large_f1)


def _check(truth: Labels, metric: str) -> None:
    if truth.ndim != 1:
        raise InputError("a cascade needs a task with one label a text: with several there is no one confidence")
    if metric not in METRICS:
        raise InputError(f"a cascade cannot be chosen by {metric!r}: expected one of {', '.join(METRICS)}")
    if len(truth) < _LEAST_ROWS:
        raise InputError(f"a cascade needs at least {_LEAST_ROWS} validation rows, got {len(truth)}")


def _choose(small: Logits, large: Logits, truth: Labels, metric: str, margin: float) -> tuple[float, float]:
    """Temperature, and the lowest threshold from which on no higher one loses more than the margin."""
    temperature = fit_temperature(small, truth)
    sureness = confidence(small, temperature)
    order = np.sort(sureness)
    cuts = np.unique(np.linspace(0, len(truth), _STEPS + 1).astype(np.int64))
    # Below every confidence: nobody is asked. Above every one: all are.
    thresholds = np.array([0.0, *order[cuts[1:-1]], 2.0])
    sure, asked = small.argmax(axis=1), large.argmax(axis=1)
    runs = [np.where(sureness < threshold, asked, sure) for threshold in thresholds]
    found = scores(truth, runs, metric)
    good = found >= found[-1] - margin - 1e-9
    bad = np.flatnonzero(~good)
    first = int(bad[-1]) + 1 if bad.size else 0
    return temperature, float(thresholds[first])


def _halves(truth: Labels, seed: int) -> NDArray[np.int64]:
    """0 or 1 for each row, half of every label's rows each."""
    rng = np.random.default_rng(seed)
    half = np.empty(len(truth), dtype=np.int64)
    turn = 0
    for label in np.unique(truth):
        rows = rng.permutation(np.flatnonzero(truth == label))
        half[rows] = (np.arange(len(rows)) + turn) % 2
        turn += len(rows)
    return half
