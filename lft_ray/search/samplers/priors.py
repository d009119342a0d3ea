"""What is known, or can be told from the records, before a trial runs: for samplers that can use it. Pure.

In: trial records. Out: `CostPrior` (functions of sampled parameters), the F1 that a stopped trial was on its way to,
and what serving at another precision or length adds to a trial's value. Never imports Optuna.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lft_ray.records import TrialRecord

__all__ = [
    "EXPECTED_VALUE",
    "MIN_ERROR",
    "Cost",
    "CostPrior",
    "expected_f1",
    "log_error",
    "variant_offsets",
]

Params = dict[str, Any]
Cost = Callable[[Params], float | Sequence[tuple[float, float]]]
MIN_ERROR = 1e-4
"""1 - F1 is not told below this: a perfect score of a small split is not infinitely good."""
EXPECTED_VALUE = "expected_value"
"""User attribute of a stopped (pruned) Optuna trial: the second objective that it was on its way to."""
SAME_FRACTION = 0.01
"""Two points of curves stand at the same share of the schedule when they are this close."""


@dataclass(frozen=True, slots=True)
class CostPrior:
    """What a sampler may know of a trial that has not run. Each function takes sampled parameters.

    Attributes:
        cost: of a trial with these parameters, above 0; or a list of (cost, offset), one for each variant of the
            trained model, the offset being added to the trial's value (both in the units of the sampler's model: in
            a search dollars per million predictions, and ``-log10(1 - F1)`` beyond that of the reference variant). An
            empty list: it may not be served at all, and is not proposed.
        train_usd: predicted price of training it, in any unit, above 0; None: all cost the same.
        feasible: a proposal must satisfy this, such as being new and within a budget; asked only of the most promising.
        centre: parameter -> a value that is known to work for the other parameters (a learning rate for a model size).
            Features are measured from it, so that what is learned of one size holds for the next, and candidates are
            drawn around it. In units of ``places``, else the decimal logarithm or the value itself.
        places: integer parameter -> where its values stand on the axis; None: they have no order.
        kinds: discrete parameter -> family of each of its values: families share less than sizes of one.
        rivals: (cost, second objective) of what is to be had without this search, such as a finished TF-IDF model; only
            what beats them is worth anything.
    """

    cost: Cost
    train_usd: Callable[[Params], float] | None = None
    feasible: Callable[[Params], bool] | None = None
    centre: Callable[[Params], Mapping[str, float]] | None = None
    places: Mapping[str, Sequence[float] | None] = field(default_factory=dict)
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rivals: Sequence[tuple[float, float]] = ()


def log_error(f1: float) -> float:
    """``log10(1 - F1)``, bounded below."""
    return math.log10(max(1.0 - f1, MIN_ERROR))


def variant_offsets(records: Sequence[TrialRecord]) -> dict[tuple[str, str, int], float]:
    """What a variant's value ``-log10(1 - F1)`` has over that of the reference, by (size, precision, max length).

    The mean over finished trials of the size, drawn to 0 as if one more trial had shown no difference; a variant that
    no trial of the size has shown is left out.
    """
    seen = defaultdict(list)
    for record in records:
        if (reference := record.reference_variant) is not None:
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
