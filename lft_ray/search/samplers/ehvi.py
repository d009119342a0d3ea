"""Expected hypervolume improvement (EHVI) of the cost-F1 front for candidates of known cost. Closed form; pure NumPy.

In: the front as a step function over log cost, and a normal prediction per candidate. Out: expected growth of the area
under the front. With one known objective, EHVI (Emmerich 2006) is a sum of one-dimensional expected improvements, each
weighted by the width of its step: no Monte Carlo, no reference direction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Front", "VariantTable", "expected_gain", "expected_improvement"]

Array = np.ndarray[Any, Any]
MARGIN = 0.1
"""Fraction by which the cost axis is extended at its expensive end; otherwise the most expensive size gains nothing."""


@dataclass(frozen=True, slots=True)
class VariantTable:
    """The variants in which each of n trials can be served: arrays (n, k), cheapest first.

    Attributes:
        log_costs: log10 of the cost; infinity if a trial has fewer than k variants.
        offsets: offset of the best variant up to this cost, added to the trial's value.
    """

    log_costs: Array
    offsets: Array

    @classmethod
    def of(cls, trials: Sequence[Sequence[tuple[float, float]]]) -> "VariantTable":
        """Build the table from the (cost, offset) pairs of each trial; a trial may have no variants."""
        width = max((len(variants) for variants in trials), default=1) or 1
        log_costs, offsets = np.full((len(trials), width), np.inf), np.full((len(trials), width), -np.inf)
        for row, variants in enumerate(trials):
            for column, (cost, offset) in enumerate(sorted(variants)):
                log_costs[row, column] = math.log10(max(cost, 1e-12))
                offsets[row, column] = offset
        return cls(log_costs, np.maximum.accumulate(offsets, axis=1))

    @property
    def is_servable(self) -> Array:
        """Which trials have at least one variant, (n,)."""
        return np.isfinite(self.log_costs[:, 0])

    def rows(self, chosen: Any) -> "VariantTable":
        """The table for some of the trials."""
        return VariantTable(self.log_costs[chosen], self.offsets[chosen])

    def concatenated(self, other: "VariantTable") -> "VariantTable":
        """The rows of this table, followed by those of the other."""
        width = max(self.log_costs.shape[1], other.log_costs.shape[1])
        both = []
        for end, one, more in ((np.inf, self.log_costs, other.log_costs), (-np.inf, self.offsets, other.offsets)):
            parts = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=end) for a in (one, more)]
            both.append(np.concatenate(parts))
        return VariantTable(both[0], np.maximum.accumulate(both[1], axis=1))


@dataclass(frozen=True, slots=True)
class Front:
    """A Pareto front as a step function: ``levels[j]`` is the best value at log10 costs ``edges[j]..edges[j + 1]``."""

    edges: Array
    levels: Array

    @classmethod
    def of(cls, variants: VariantTable, values: Array, *, span: tuple[float, float], floor: float) -> "Front":
        """Build the front of trials.

        Args:
            variants: variants of n trials.
            values: value of each trial's reference variant, (n,).
            span: lowest and highest log10 cost of any observed or candidate trial.
            floor: value of the step below the cheapest trial.
        """
        low, high = span
        end = high + (MARGIN * (high - low) if high > low else 1.0)
        costs, heights = variants.log_costs.ravel(), (variants.offsets + values[:, None]).ravel()
        real = np.isfinite(costs) & (costs < end)
        order = np.lexsort((-heights[real], costs[real]))
        edges, levels = [min(low, *costs[real], end)] if real.any() else [low], [floor]
        for cost, height in zip(costs[real][order], heights[real][order], strict=True):
            if height > levels[-1]:
                edges.append(float(cost))
                levels.append(float(height))
        return cls(np.array([*edges, end]), np.array(levels))

    def area(self, floor: float) -> float:
        """Area between the step function and ``floor``."""
        return float(np.diff(self.edges) @ (self.levels - floor))


def expected_improvement(mean: Array, sd: Array, level: Array) -> Array:
    """``E[max(Y - level, 0)]`` for a normal Y. The arrays must broadcast; ``sd`` above 0."""
    from scipy.special import ndtr

    z = (mean - level) / sd
    return np.asarray((mean - level) * ndtr(z) + sd * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)).clip(0.0)


def expected_score_improvement(mean: Array, sd: Array, level: Array) -> Array:
    """Expected improvement of the score ``1 - 10 ** -Y``: the error is log-normal, so there is a closed form."""
    from scipy.special import ndtr

    ten = math.log(10.0)
    log_error, log_level, spread = -ten * mean, -ten * level, ten * sd
    z = (log_level - log_error) / spread
    return np.asarray(np.exp(log_level) * ndtr(z) - np.exp(log_error + spread * spread / 2) * ndtr(z - spread)).clip(
        0.0
    )


def expected_gain(mean: Array, sd: Array, variants: VariantTable, front: Front, *, on_score: bool = False) -> Array:
    """Expected growth of the area under the front for each of n candidates, (n,).

    A candidate's variants share one unknown value Y: from its i-th cost on it reaches Y plus the best offset so far. On
    each interval of the cost axis on which neither that offset nor the front's level changes, the gain is the width of
    the interval times one expected improvement.

    Args:
        mean: predicted mean of Y, (n,).
        sd: predicted standard deviation of Y, (n,).
        variants: variants of the candidates.
        front: current front.
        on_score: measure the area on the scale of the score ``1 - 10 ** -Y`` instead of Y.
    """
    improvement = expected_score_improvement if on_score else expected_improvement
    ends = np.concatenate([variants.log_costs[:, 1:], np.full((len(mean), 1), np.inf)], axis=1)
    left = np.maximum(front.edges[:-1], variants.log_costs[:, :, None])
    widths = np.minimum(front.edges[1:], ends[:, :, None]) - left
    widths = np.where(np.isfinite(variants.log_costs)[:, :, None], widths, 0.0).clip(0.0)
    offsets = np.where(np.isfinite(variants.offsets), variants.offsets, 0.0)
    levels = front.levels - offsets[:, :, None]
    gains = improvement(mean[:, None, None], sd[:, None, None], levels)
    return np.asarray((widths * gains).sum(axis=(1, 2)))
