"""What is known, or can be told from the records, before a trial runs: for samplers that can use it. Pure.

In: trial records. Out: `Outlook` (functions of sampled parameters), the F1 that a stopped trial was on its way to, and
what serving at another precision or length adds to a trial's value. Never imports Optuna.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lft_ray.records import TrialRecord, TrialStatus, Variant

__all__ = [
    "BEST_ERROR",
    "EXPECTED_VALUE",
    "Offer",
    "Outlook",
    "expected_f1",
    "log_error",
    "reference_variant",
    "variant_offsets",
]

Params = dict[str, Any]
Offer = tuple[str, int, float]
"""Precision, max length, dollars per million predictions."""
BEST_ERROR = 1e-4
"""1 - F1 is not told below this: a perfect score of a small split is not infinitely good."""
EXPECTED_VALUE = "expected_value"
"""User attribute of a stopped (pruned) Optuna trial: the second objective that it was on its way to."""
SAME_FRACTION = 0.01
"""Two points of curves stand at the same share of the schedule when they are this close."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a sampler may know of a trial that has not run. Each function takes sampled parameters.

    Attributes:
        cost: (dollars per million predictions, offset of the value) of each way it may be served; none under the caps:
            empty. Values are ``-log10(1 - F1)`` of the reference variant.
        train_usd: predicted training dollars.
        feasible: whether it is new and may still be paid for.
        centre: parameter -> place on its axis that is known to work.
        places: parameter -> where its values stand on the axis; None: they have no order.
        kinds: parameter -> family of each of its values.
        rivals: (dollars per million predictions, log10 error) of finished models outside the space, such as TF-IDF.
    """

    cost: Callable[[Params], Sequence[tuple[float, float]]]
    train_usd: Callable[[Params], float]
    feasible: Callable[[Params], bool]
    centre: Callable[[Params], Mapping[str, float]]
    places: Mapping[str, Sequence[float] | None] = field(default_factory=dict)
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rivals: Sequence[tuple[float, float]] = ()


def log_error(f1: float) -> float:
    """``log10(1 - F1)``, bounded below."""
    return math.log10(max(1.0 - f1, BEST_ERROR))


def reference_variant(record: TrialRecord) -> Variant | None:
    """The variant that stands for a finished trial: its first (of ``export.precisions``) at the trained length."""
    if record.status is not TrialStatus.DONE or not record.variants:
        return None
    return next((v for v in record.variants if v.max_length == record.config.max_length), record.variants[0])


def variant_offsets(records: Sequence[TrialRecord]) -> dict[tuple[str, str, int], float]:
    """What a variant's value ``-log10(1 - F1)`` has over that of the reference, by (size, precision, max length).

    The mean over finished trials of the size, drawn to 0 as if one more trial had shown no difference; a variant that
    no trial of the size has shown is left out.
    """
    seen = defaultdict(list)
    for record in records:
        if (reference := reference_variant(record)) is not None:
            for v in record.variants:
                key = (record.config.model_size, v.precision, v.max_length)
                seen[key].append(log_error(reference.f1) - log_error(v.f1))
    return {key: sum(offsets) / (len(offsets) + 1) for key, offsets in seen.items()}


def expected_f1(record: TrialRecord, finished: Sequence[TrialRecord]) -> float | None:
    """The F1 that a stopped trial would have had at its end; None when it was not evaluated since it began.

    Its last error times the median ratio of final to present error, at the same share of the schedule, over finished
    trials; its last score where no finished trial has a point there.
    """
    if not record.curve or record.curve[-1].fraction <= 0.0:
        return None
    last = record.curve[-1]
    ratios = []
    for other in finished:
        points = [p for p in other.curve if abs(p.fraction - last.fraction) <= SAME_FRACTION]
        if points and other.curve[-1].fraction > last.fraction and points[0].f1 < 1.0:
            ratios.append((1.0 - other.curve[-1].f1) / (1.0 - points[0].f1))
    return last.f1 if not ratios else max(0.0, 1.0 - (1.0 - last.f1) * median(ratios))
