"""Prior knowledge for samplers: known serving cost, predicted training cost, feasibility, known good values. Pure.

In: trial records. Out: `CostPrior` (functions of sampled parameters), the expected final F1 of a stopped trial, and the
F1 offset of serving a model at another precision or length. Never imports Optuna.
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
"""Lower bound of 1 - F1: a perfect score on a small split is not infinitely good."""
EXPECTED_VALUE = "expected_value"
"""User attribute of a stopped (pruned) Optuna trial: its expected final value of the second objective."""
SAME_FRACTION = 0.01
"""Curve points this close count as the same fraction of the schedule."""


@dataclass(frozen=True, slots=True)
class CostPrior:
    """Knowledge about a trial that has not run. Each function takes sampled parameters.

    Attributes:
        cost: cost of a trial with these parameters, above 0; or a list of (cost, offset), one per variant of the
            trained model, where the offset is added to the trial's value (in the units of the sampler's model: in a
            search, dollars per million predictions and ``-log10(1 - F1)`` relative to the reference variant). An empty
            list: no variant may be served, and the configuration is not proposed.
        train_usd: predicted training cost, in any unit, above 0; None: equal for all.
        feasible: constraint on proposals, such as being new and within budget; called only for the most promising.
        centre: parameter -> value known to work given the other parameters (a learning rate for a model size). Features
            are measured relative to it, so that observations of one size transfer to the next, and candidates are
            drawn around it. In units of ``positions``, else the decimal logarithm or the value itself.
        positions: integer parameter -> position of each of its values on the axis; None: the values have no order.
        families: discrete parameter -> family of each value; the model shares less between families than within one.
        baselines: (cost, second objective) of models available without this search, such as a finished TF-IDF model;
            only improvements over them count.
    """

    cost: Cost
    train_usd: Callable[[Params], float] | None = None
    feasible: Callable[[Params], bool] | None = None
    centre: Callable[[Params], Mapping[str, float]] | None = None
    positions: Mapping[str, Sequence[float] | None] = field(default_factory=dict)
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baselines: Sequence[tuple[float, float]] = ()


def log_error(f1: float) -> float:
    """``log10(1 - F1)``, bounded below."""
    return math.log10(max(1.0 - f1, MIN_ERROR))


def variant_offsets(records: Sequence[TrialRecord]) -> dict[tuple[str, str, int], float]:
    """Offset of a variant's value ``-log10(1 - F1)`` from the reference variant, by (size, precision, max length).

    The mean over finished trials of the size, shrunk towards 0 by one pseudo-trial without a difference; variants
    without an observation are left out.
    """
    seen = defaultdict(list)
    for record in records:
        if (reference := record.reference_variant) is not None:
            for v in record.variants:
                key = (record.config.model_size, v.precision, v.max_length)
                seen[key].append(log_error(reference.f1) - log_error(v.f1))
    return {key: sum(offsets) / (len(offsets) + 1) for key, offsets in seen.items()}


def expected_f1(record: TrialRecord, finished: Sequence[TrialRecord]) -> float | None:
    """Expected final F1 of a stopped trial; None if it was not evaluated after training began.

    The last error times the median ratio of final to current error over finished trials at the same fraction of the
    schedule; the last score if no finished trial has a point there.
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
