"""What a trial is expected to add to the cost-F1 front, when its costs are known. Closed form; pure NumPy.

In: the front as a staircase over the logarithm of cost, and each candidate's normal prediction. Out: expected growth of
the area below the staircase. With one axis known, expected hypervolume improvement (Emmerich 2006) is a sum of
one-dimensional expected improvements, each as wide as its step: no Monte Carlo, no reference direction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Front", "VariantTable", "expected_gain", "expected_improvement"]

Array = np.ndarray[Any, Any]
MARGIN = 0.1
"""Share of the cost axis that is added at its dear end, or the dearest size would have no width to gain."""


@dataclass(frozen=True, slots=True)
class VariantTable:
    """The variants that each of n trials can be served as: arrays (n, k), cheapest first.

    Attributes:
        log_costs: log10 of the cost; infinity where a trial has fewer than k variants.
        offsets: what the best variant up to this cost adds to the trial's value.
    """

    log_costs: Array
    offsets: Array

    @classmethod
    def of(cls, trials: Sequence[Sequence[tuple[float, float]]]) -> "VariantTable":
        """From (cost, offset) of every variant, per trial; a trial may have none."""
        width = max((len(variants) for variants in trials), default=1) or 1
        log_costs, offsets = np.full((len(trials), width), np.inf), np.full((len(trials), width), -np.inf)
        for row, variants in enumerate(trials):
            for column, (cost, offset) in enumerate(sorted(variants)):
                log_costs[row, column] = math.log10(max(cost, 1e-12))
                offsets[row, column] = offset
        return cls(log_costs, np.maximum.accumulate(offsets, axis=1))

    @property
    def some(self) -> Array:
        """Which trials have any, (n,)."""
        return np.isfinite(self.log_costs[:, 0])

    def rows(self, chosen: Any) -> "VariantTable":
        """Those of some trials."""
        return VariantTable(self.log_costs[chosen], self.offsets[chosen])

    def joined(self, other: "VariantTable") -> "VariantTable":
        """These, then the other's."""
        width = max(self.log_costs.shape[1], other.log_costs.shape[1])
        both = []
        for end, one, more in ((np.inf, self.log_costs, other.log_costs), (-np.inf, self.offsets, other.offsets)):
            parts = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=end) for a in (one, more)]
            both.append(np.concatenate(parts))
        return VariantTable(both[0], np.maximum.accumulate(both[1], axis=1))


@dataclass(frozen=True, slots=True)
class Front:
    """A staircase: ``levels[j]`` is the best value from ``edges[j]`` up to ``edges[j + 1]``, in log10 cost."""

    edges: Array
    levels: Array

    @classmethod
    def of(cls, variants: VariantTable, values: Array, *, span: tuple[float, float], floor: float) -> "Front":
        """From trials with these values.

        Args:
            variants: of n trials.
            values: (n,).
            span: least and largest log10 cost of anything that may be tried.
            floor: value of having nothing.
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
        """Area between the staircase and ``floor``."""
        return float(np.diff(self.edges) @ (self.levels - floor))


def expected_improvement(mean: Array, sd: Array, level: Array) -> Array:
    """``E[max(Y - level, 0)]`` of a normal Y. Arrays that broadcast; ``sd`` above 0."""
    from scipy.special import ndtr

    z = (mean - level) / sd
    return np.asarray((mean - level) * ndtr(z) + sd * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)).clip(0.0)


def expected_score_improvement(mean: Array, sd: Array, level: Array) -> Array:
    """The same on the scale of the score ``1 - 10 ** -Y``: the error is log-normal, so this, too, is closed."""
    from scipy.special import ndtr

    ten = math.log(10.0)
    log_error, log_level, spread = -ten * mean, -ten * level, ten * sd
    z = (log_level - log_error) / spread
    return np.asarray(np.exp(log_level) * ndtr(z) - np.exp(log_error + spread * spread / 2) * ndtr(z - spread)).clip(
        0.0
    )


def expected_gain(mean: Array, sd: Array, variants: VariantTable, front: Front, *, on_score: bool = False) -> Array:
    """Expected growth of the area below the front, for each of n candidates: (n,).

    A candidate's variants share one unknown value Y, so from its i-th cost on it offers Y plus the best offset so far;
    on each piece of the cost axis on which neither that offset nor the front's level changes, the gain is the piece's
    width times one expected improvement.

    Args:
        mean: of Y, (n,).
        sd: of Y, (n,).
        variants: the candidates'.
        front: what there is already.
        on_score: measure the area on the scale of the score ``1 - 10 ** -Y`` instead of Y's.
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
