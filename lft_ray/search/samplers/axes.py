"""Optuna parameters as numbers: candidates in the unit cube, and features for a Gaussian process. Pure NumPy.

A point of the cube is a candidate (equal shares for discrete values). A feature is where a value stands between the
ends of its range, in the logarithm where the distribution says so; a value without order is a one-hot group; a missing
parameter (its method does not have it) stands in the middle.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["Axes", "Axis"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter.

    Attributes:
        name: of the parameter.
        distribution: Optuna's.
        places: where each value of a discrete parameter stands on the axis; None: at its number.
        has_order: whether neighbours are alike; without, each value is a feature of its own.
        kinds: the family of each value of a discrete parameter: what is learned of one says less of another.
    """

    name: str
    distribution: BaseDistribution
    places: tuple[float, ...] | None
    has_order: bool
    kinds: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """Number of values; None: a continuum."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        if isinstance(d, IntDistribution | FloatDistribution) and d.step is not None:
            return math.floor((d.high - d.low) / d.step + 1e-9) + 1
        return None

    @property
    def is_log(self) -> bool:
        """Whether the values' logarithm is what counts."""
        return bool(getattr(self.distribution, "log", False))

    def decode(self, cube: Array) -> Array:
        """Optuna's internal numbers behind coordinates in [0, 1]."""
        d, count = self.distribution, self.count
        if isinstance(d, CategoricalDistribution):
            return np.asarray(np.minimum(np.floor(cube * len(d.choices)), len(d.choices) - 1))
        assert isinstance(d, IntDistribution | FloatDistribution)
        if self.is_log:
            low, high = self._log_ends()
            values = np.exp(low + cube * (high - low))
            return np.asarray(np.clip(np.round(values) if isinstance(d, IntDistribution) else values, d.low, d.high))
        if count is None:
            return np.asarray(d.low + cube * (d.high - d.low))
        return np.asarray(d.low + (d.step or 1) * np.minimum(np.floor(cube * count), count - 1))

    def encode(self, internal: Array) -> Array:
        """The inverse of `decode`: the middle of the share of a discrete value."""
        count = self.count
        if self.is_log:
            low, high = self._log_ends()
            return np.asarray((np.log(internal) - low) / (high - low))
        return self.unit(internal) if count is None else np.asarray((self.index(internal) + 0.5) / count)

    def index(self, internal: Array) -> Array:
        """Which of its values a discrete parameter has; NaN stays."""
        low, step = getattr(self.distribution, "low", 0), getattr(self.distribution, "step", None) or 1
        return np.asarray((internal - low) / step)

    def unit(self, internal: Array) -> Array:
        """Where values stand between the ends of the axis: 0 to 1."""
        low, high = self._ends()
        return np.asarray((self._place(internal) - low) / (high - low if high > low else 1.0))

    def unit_of_place(self, place: float) -> float:
        """The same for a place on the axis: a table's entry, a decimal logarithm or a plain value."""
        low, high = self._ends()
        return (place - low) / (high - low if high > low else 1.0)

    def nearest(self, unit: Array) -> Array:
        """The cube coordinate whose value stands nearest to ``unit``."""
        if self.count is None or self.is_log or not self.has_order:
            return np.clip(unit, 0.0, 1.0)
        stands = self.unit(self.decode((np.arange(self.count) + 0.5) / self.count))
        return np.asarray((np.abs(stands[None, :] - unit[:, None]).argmin(1) + 0.5) / self.count)

    def _log_ends(self) -> tuple[float, float]:
        """Of the cube: whole numbers reach half a step beyond the ends, so that these are as likely as the others."""
        d: Any = self.distribution
        half = 0.5 if isinstance(d, IntDistribution) else 0.0
        return math.log(d.low - half), math.log(d.high + half)

    def _ends(self) -> tuple[float, float]:
        if self.places is not None:
            return min(self.places), max(self.places)
        d = self.distribution
        ends = (0, len(d.choices) - 1) if isinstance(d, CategoricalDistribution) else (d.low, d.high)  # type: ignore[attr-defined]
        low, high = self._place(np.array(ends, dtype=float))
        return float(low), float(high)

    def _place(self, internal: Array) -> Array:
        if self.places is not None:
            index = np.where(np.isnan(internal), 0, self.index(internal)).astype(int)
            return np.where(np.isnan(internal), np.nan, np.asarray(self.places)[index])
        return np.log10(internal) if self.is_log else np.asarray(internal, dtype=float)


@dataclass(frozen=True, slots=True)
class Axes:
    """All parameters of a search space, in the order of their names."""

    axes: tuple[Axis, ...]

    @classmethod
    def of(
        cls,
        space: Mapping[str, BaseDistribution],
        places: Mapping[str, Sequence[float] | None] | None = None,
        kinds: Mapping[str, Sequence[str]] | None = None,
    ) -> "Axes":
        """From distributions; ``places`` and ``kinds`` as in `lft_ray.search.samplers.known_cost.KnownCostSampler`."""
        places, kinds = places or {}, kinds or {}
        axes = []
        for name in sorted(space):
            stands = places.get(name)
            is_unordered = isinstance(space[name], CategoricalDistribution) or name in places
            has_order = stands is not None or not is_unordered
            axes.append(
                Axis(
                    name, space[name], None if stands is None else tuple(stands), has_order, tuple(kinds.get(name, ()))
                )
            )
        return cls(tuple(axes))

    @property
    def groups(self) -> Array:
        """Index of the length scale of each feature."""
        groups: list[int] = []
        for axis in self.axes:
            for width in [1 if axis.has_order else axis.count or 1] + ([len(set(axis.kinds))] if axis.kinds else []):
                groups += [groups[-1] + 1 if groups else 0] * width
        return np.array(groups)

    @property
    def is_continuous(self) -> Array:
        """Which parameters are a continuum."""
        return np.array([axis.count is None for axis in self.axes])

    @property
    def steps(self) -> Array:
        """Distance in the cube to the next value of a discrete parameter; 0 for a continuum."""
        return np.array([0.0 if axis.count is None else 1.0 / axis.count for axis in self.axes])

    def spread_out(self, count: int, rng: np.random.Generator) -> Array:
        """Points of the cube: every combination where all are discrete and few, else a low-discrepancy sequence."""
        counts = [axis.count for axis in self.axes]
        if all(c is not None for c in counts) and math.prod(c or 1 for c in counts) <= count:
            grids = np.meshgrid(*[(np.arange(c or 1) + 0.5) / (c or 1) for c in counts], indexing="ij")
            return np.stack([grid.ravel() for grid in grids], axis=1)
        # Roberts' sequence: powers of the inverse of the d-dimensional golden ratio, shifted by the seed.
        ratio = 2.0
        for _ in range(30):
            ratio = (1 + ratio) ** (1 / (len(self.axes) + 1))
        steps = ratio ** -np.arange(1.0, len(self.axes) + 1)
        return np.asarray((rng.random(len(self.axes)) + np.arange(1, count + 1)[:, None] * steps) % 1.0)

    def internal(self, cube: Array) -> Array:
        """Optuna's internal numbers of cube points, (n, d)."""
        return np.stack([axis.decode(cube[:, i]) for i, axis in enumerate(self.axes)], axis=1)

    def cube(self, internal: Array) -> Array:
        """Cube points of internal numbers; a missing one lies in the middle."""
        columns = np.stack([axis.encode(internal[:, i]) for i, axis in enumerate(self.axes)], axis=1)
        return np.where(np.isnan(columns), 0.5, columns)

    def numbers(self, params: Mapping[str, Any]) -> list[float]:
        """Internal numbers of a trial's parameters; NaN where it has none."""
        return [
            axis.distribution.to_internal_repr(params[axis.name]) if axis.name in params else math.nan
            for axis in self.axes
        ]

    def params(self, internal: Sequence[float]) -> dict[str, Any]:
        """A trial's parameters, missing ones left out."""
        return {
            axis.name: axis.distribution.to_external_repr(value)
            for axis, value in zip(self.axes, internal, strict=True)
            if not math.isnan(value)
        }

    def features(self, internal: Array, centres: Array) -> Array:
        """Features of internal numbers, (n, f).

        Args:
            internal: (n, d).
            centres: where 0.5 shall lie for each, in units of the axis; NaN: in its middle, (n, d).
        """
        columns = []
        for i, axis in enumerate(self.axes):
            value = internal[:, i]
            if axis.has_order:
                off = np.where(np.isnan(centres[:, i]), 0.0, centres[:, i] - 0.5)
                columns.append(np.where(np.isnan(value), 0.5, axis.unit(value) - off)[:, None])
            else:
                columns.append(_one_hot(axis.index(value), range(axis.count or 1)))
            if axis.kinds:
                columns.append(_one_hot(axis.index(value), axis.kinds))
        return np.concatenate(columns, axis=1)


def _one_hot(index: Array, labels: Sequence[Any]) -> Array:
    """A column for each different label, (n, k); two labels are 1 apart, as the ends of an ordered axis are."""
    table = np.array([[label == other for other in dict.fromkeys(labels)] for label in labels], dtype=float)
    known = ~np.isnan(index)
    columns = np.zeros((len(index), table.shape[1]))
    columns[known] = table[index[known].astype(int)] / math.sqrt(2.0)
    return columns
