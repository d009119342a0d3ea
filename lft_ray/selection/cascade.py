"""Model cascade: the small model predicts where it is confident, the large one on the remaining texts.

In: head outputs of both models on validation. Out: temperature, threshold, F1 and share. Pure; no files.

The confidence of the small model is the task's, after temperature scaling. F1 and share are cross-fitted: temperature
and threshold are chosen on one half of the validation rows and measured on the other, both ways round. The deployed
values are then chosen on all rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import InputError
from lft_ray.selection.evidence import Scorer
from lft_ray.tasks.base import ConfidentTask
from lft_ray.tasks.judging import Answers

__all__ = ["CascadeEstimate", "cascade_usd", "estimate"]

_STEPS = 200
"""Thresholds tried, as quantiles of the confidence."""
_MIN_ROWS = 40

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CascadeEstimate:
    """A cascade and its estimated quality.

    Attributes:
        temperature: divisor of the small model's outputs; above 1 where the small model is overconfident.
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
    small: Floats, large: Floats, targets: NDArray[Any], *, scorer: Scorer, margin: float, seed: int = 0
) -> CascadeEstimate:
    """Choose and measure a cascade: the smallest share for the large model that loses no more than the margin.

    Args:
        small: head outputs [n, c] of the small model on validation.
        large: head outputs [n, c] of the large model on the same rows.
        targets: targets of the rows, as the task encodes them.
        scorer: the task and its metric.
        margin: F1 that may be lost against the large model, as a fraction.
        seed: random seed of the split into halves.

    Raises:
        InputError: there are too few rows, the task has no confidence, or the small model alone is within the margin.
    """
    task = _confident(scorer)
    if len(targets) < _MIN_ROWS:
        raise InputError(f"a cascade needs at least {_MIN_ROWS} validation rows, got {len(targets)}")
    half = _halves(scorer.task.row_strata(targets), seed)
    ours, theirs = scorer.task.answers(small), scorer.task.answers(large)
    answers, share = np.empty_like(ours), 0.0
    for number in (0, 1):
        chosen, measured = np.flatnonzero(half != number), np.flatnonzero(half == number)
        temperature, threshold = _choose(small[chosen], large[chosen], targets[chosen], scorer, margin)
        unsure = task.confidence(small[measured], temperature) < threshold
        answers[measured] = _either(unsure, theirs[measured], ours[measured])
        share += float(unsure.sum()) / len(targets)
    temperature, threshold = _choose(small, large, targets, scorer, margin)
    if threshold <= 0.0:
        raise InputError(
            f"the small model alone is within the margin of {margin:g} on validation: no large model is needed",
            fix="deploy it alone, or lower the margin with --set selection.margin=0.002",
        )
    f1, small_f1, large_f1 = (float(value) for value in scorer.scores(targets, [answers, ours, theirs]))
    return CascadeEstimate(temperature, threshold, share, f1, small_f1, large_f1)


def _confident(scorer: Scorer) -> ConfidentTask:
    if not isinstance(scorer.task, ConfidentTask):
        raise InputError(
            f"a cascade needs a task whose predictions have one confidence each, and {scorer.task.kind} has none",
            fix="deploy one model",
        )
    return scorer.task


def _either(first: NDArray[np.bool_], ours: Answers, theirs: Answers) -> Answers:
    """Row by row ``ours`` where ``first``, else ``theirs``."""
    return np.where(first.reshape(-1, *[1] * (ours.ndim - 1)), ours, theirs)


def _choose(small: Floats, large: Floats, targets: NDArray[Any], scorer: Scorer, margin: float) -> tuple[float, float]:
    """Temperature, and the lowest threshold above which no threshold loses more than the margin."""
    task = _confident(scorer)
    temperature = task.fit_temperature(small, targets)
    confidences = task.confidence(small, temperature)
    order = np.sort(confidences)
    cuts = np.unique(np.linspace(0, len(targets), _STEPS + 1).astype(np.int64))
    # 0.0 is below every confidence: the large model gets no text. 2.0 is above every one: it gets all texts.
    thresholds = np.array([0.0, *order[cuts[1:-1]], 2.0])
    ours, theirs = scorer.task.answers(small), scorer.task.answers(large)
    f1 = scorer.scores(targets, [_either(confidences < threshold, theirs, ours) for threshold in thresholds])
    # The last run is the large model alone. F1 need not rise with the threshold: start after the last one that fails.
    failing = np.flatnonzero(f1 < f1[-1] - margin - 1e-9)
    first = int(failing[-1]) + 1 if failing.size else 0
    return temperature, float(thresholds[first])


def _halves(strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Assign each row to half 0 or 1, within strata."""
    rng = np.random.default_rng(seed)
    half = np.empty(len(strata), dtype=np.int64)
    # Strata of an odd number of rows take turns in which half gets the extra row.
    turn = 0
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        half[rows] = (np.arange(len(rows)) + turn) % 2
        turn += len(rows)
    return half
