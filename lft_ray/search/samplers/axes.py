"""Encode Optuna parameters: candidates as points of the unit cube, and features for a Gaussian process. Pure NumPy.

A point of the cube is a candidate; discrete values get equal intervals. A feature is the relative position of a value
in its range, on a log scale if the distribution is logarithmic; unordered values are one-hot encoded; a missing
parameter (the method does not have it) is placed in the middle.
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
        name: name of the parameter.
        distribution: Optuna distribution.
        positions: position of each value of a discrete parameter on the axis; None: the value's number.
        has_order: whether neighbouring values are similar; otherwise each value is a feature of its own.
        families: family of each value of a discrete parameter; the model shares less between families.
    """

    name: str
    distribution: BaseDistribution
    positions: tuple[float, ...] | None
    has_order: bool
    families: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """Number of values; None: continuous."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        if isinstance(d, IntDistribution | FloatDistribution) and d.step is not None:
            return math.floor((d.high - d.low) / d.step + 1e-9) + 1
        return None

    @property
    def is_log(self) -> bool:
        """Whether the axis is logarithmic."""
        return bool(getattr(self.distribution, "log", False))

    def decode(self, cube: Array) -> Array:
        """Convert coordinates in [0, 1] to Optuna's internal numbers."""
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
        """The inverse of `decode`; a discrete value maps to the middle of its interval."""
        count = self.count
        if self.is_log:
            low, high = self._log_ends()
            return np.asarray((np.log(internal) - low) / (high - low))
        return self.unit(internal) if count is None else np.asarray((self.index(internal) + 0.5) / count)

    def index(self, internal: Array) -> Array:
        """Index of a discrete parameter's value; NaN stays NaN."""
        low, step = getattr(self.distribution, "low", 0), getattr(self.distribution, "step", None) or 1
        return np.asarray((internal - low) / step)

    def unit(self, internal: Array) -> Array:
        """Relative position of values between the ends of the axis, 0 to 1."""
        low, high = self._ends()
        return np.asarray((self._position(internal) - low) / (high - low if high > low else 1.0))

    def unit_of_position(self, position: float) -> float:
        """Relative position of a point on the axis: an entry of ``positions``, a decimal logarithm or a plain value."""
        low, high = self._ends()
        return (position - low) / (high - low if high > low else 1.0)

    def nearest(self, unit: Array) -> Array:
        """The cube coordinate of the value nearest to the relative position ``unit``."""
        if self.count is None or self.is_log or not self.has_order:
            return np.clip(unit, 0.0, 1.0)
        units = self.unit(self.decode((np.arange(self.count) + 0.5) / self.count))
        return np.asarray((np.abs(units[None, :] - unit[:, None]).argmin(1) + 0.5) / self.count)

    def _log_ends(self) -> tuple[float, float]:
        """Ends of a log axis in the cube, for integers half a step further out: all values are then equally likely."""
        d: Any = self.distribution
        half = 0.5 if isinstance(d, IntDistribution) else 0.0
        return math.log(d.low - half), math.log(d.high + half)

    def _ends(self) -> tuple[float, float]:
        if self.positions is not None:
            return min(self.positions), max(self.positions)
        d = self.distribution
        ends = (0, len(d.choices) - 1) if isinstance(d, CategoricalDistribution) else (d.low, d.high)  # type: ignore[attr-defined]
        low, high = self._position(np.array(ends, dtype=float))
        return float(low), float(high)

    def _position(self, internal: Array) -> Array:
        if self.positions is not None:
            index = np.where(np.isnan(internal), 0, self.index(internal)).astype(int)
            return np.where(np.isnan(internal), np.nan, np.asarray(self.positions)[index])
        return np.log10(internal) if self.is_log else np.asarray(internal, dtype=float)


@dataclass(frozen=True, slots=True)
class Axes:
    """All parameters of a search space, in the order of their names."""

    axes: tuple[Axis, ...]

    @classmethod
    def of(
        cls,
        space: Mapping[str, BaseDistribution],
        positions: Mapping[str, Sequence[float] | None] | None = None,
        families: Mapping[str, Sequence[str]] | None = None,
    ) -> "Axes":
        """Build from distributions; ``positions`` and ``families`` as in `lft_ray.search.samplers.priors.CostPrior`."""
        positions, families = positions or {}, families or {}
        axes = []
        for name in sorted(space):
            of_values = positions.get(name)
            is_unordered = isinstance(space[name], CategoricalDistribution) or name in positions
            has_order = of_values is not None or not is_unordered
            axes.append(
                Axis(
                    name,
                    space[name],
                    None if of_values is None else tuple(of_values),
                    has_order,
                    tuple(families.get(name, ())),
                )
            )
        return cls(tuple(axes))

    @property
    def groups(self) -> Array:
        """Index of the length scale of each feature, (f,)."""
        groups: list[int] = []
        for axis in self.axes:
            for width in [1 if axis.has_order else axis.count or 1] + (
                [len(set(axis.families))] if axis.families else []
            ):
                groups += [groups[-1] + 1 if groups else 0] * width
        return np.array(groups)

    @property
    def is_continuous(self) -> Array:
        """Which parameters are continuous, (d,)."""
        return np.array([axis.count is None for axis in self.axes])

    @property
    def steps(self) -> Array:
        """Distance in the cube to the next value of a discrete parameter, (d,); 0 for continuous ones."""
        return np.array([0.0 if axis.count is None else 1.0 / axis.count for axis in self.axes])

    def spread_out(self, count: int, rng: np.random.Generator) -> Array:
        """Points covering the cube: the full grid if it is small enough, else a low-discrepancy sequence."""
        counts = [axis.count for axis in self.axes]
        if all(c is not None for c in counts) and math.prod(c or 1 for c in counts) <= count:
            grids = np.meshgrid(*[(np.arange(c or 1) + 0.5) / (c or 1) for c in counts], indexing="ij")
            return np.stack([grid.ravel() for grid in grids], axis=1)
        # Roberts' sequence: powers of the inverse of the d-dimensional golden ratio, with a random shift.
        ratio = 2.0
        for _ in range(30):
            ratio = (1 + ratio) ** (1 / (len(self.axes) + 1))
        steps = ratio ** -np.arange(1.0, len(self.axes) + 1)
        return np.asarray((rng.random(len(self.axes)) + np.arange(1, count + 1)[:, None] * steps) % 1.0)

    def internal(self, cube: Array) -> Array:
        """Convert cube points to Optuna's internal numbers, (n, d)."""
        return np.stack([axis.decode(cube[:, i]) for i, axis in enumerate(self.axes)], axis=1)

    def cube(self, internal: Array) -> Array:
        """Convert internal numbers to cube points, (n, d); missing parameters lie in the middle."""
        columns = np.stack([axis.encode(internal[:, i]) for i, axis in enumerate(self.axes)], axis=1)
        return np.where(np.isnan(columns), 0.5, columns)

    def numbers(self, params: Mapping[str, Any]) -> list[float]:
        """Internal numbers of a trial's parameters; NaN for missing ones."""
        return [
            axis.distribution.to_internal_repr(params[axis.name]) if axis.name in params else math.nan
            for axis in self.axes
        ]

    def params(self, internal: Sequence[float]) -> dict[str, Any]:
        """A trial's parameters from internal numbers; missing ones are left out."""
        return {
            axis.name: axis.distribution.to_external_repr(value)
            for axis, value in zip(self.axes, internal, strict=True)
            if not math.isnan(value)
        }

    def features(self, internal: Array, centres: Array) -> Array:
        """Compute Gaussian process features, (n, f).

        Args:
            internal: Optuna's internal numbers, (n, d).
            centres: relative position that is mapped to 0.5, (n, d); NaN: the middle of the axis.
        """
        columns = []
        for i, axis in enumerate(self.axes):
            value = internal[:, i]
            if axis.has_order:
                off = np.where(np.isnan(centres[:, i]), 0.0, centres[:, i] - 0.5)
                columns.append(np.where(np.isnan(value), 0.5, axis.unit(value) - off)[:, None])
            else:
                columns.append(_one_hot(axis.index(value), range(axis.count or 1)))
            if axis.families:
                columns.append(_one_hot(axis.index(value), axis.families))
        return np.concatenate(columns, axis=1)


def _one_hot(index: Array, labels: Sequence[Any]) -> Array:
    """A column per distinct label, (n, k); two labels are at distance 1, like the ends of an ordered axis."""
    table = np.array([[label == other for other in dict.fromkeys(labels)] for label in labels], dtype=float)
    known = ~np.isnan(index)
    columns = np.zeros((len(index), table.shape[1]))
    columns[known] = table[index[known].astype(int)] / math.sqrt(2.0)
    return columns
