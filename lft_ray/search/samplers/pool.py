"""Arrays for the known-cost sampler: observed trials, and a pool of candidates. No model, no acquisition.

In: Optuna trials, and functions of parameters (cost, training dollars, centre). Out: `Observations` and `Pool`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from lft_ray.search.samplers.axes import Axes
from lft_ray.search.samplers.ehvi import VariantTable
from lft_ray.search.samplers.priors import EXPECTED_VALUE, Cost, Params

__all__ = ["Observations", "Params", "Pool", "PoolPriors"]

Array = np.ndarray[Any, Any]
CENTRED_SD = 0.12
"""Standard deviation of candidates around a known good value, relative to the axis: 0.3 of two and a half decades."""
NEAR_SD = 0.1
"""Standard deviation of candidates around the front, relative to the axis."""
ELITES = 6
"""Number of trials on the front around which a quarter of the candidates is drawn."""
CLIP = 1.0
"""Values are clipped at this many times (best - median) below the median: a diverged run at F1 0.05 would otherwise set
the scale on which runs at 0.90 and 0.91 are compared."""


@dataclass(frozen=True, slots=True)
class Pool:
    """m configurations: Optuna's internal numbers (m, d), features (m, f), variants, training dollars (m,)."""

    internal: Array
    params: list[Params]
    features: Array
    variants: VariantTable
    train_usd: Array

    def rows(self, chosen: Array) -> "Pool":
        """A subset of the pool, by index."""
        return Pool(
            self.internal[chosen],
            [self.params[i] for i in chosen],
            self.features[chosen],
            self.variants.rows(chosen),
            self.train_usd[chosen],
        )


@dataclass(frozen=True, slots=True)
class Observations:
    """Earlier trials.

    Attributes:
        pool: configurations of the trials.
        values: objective of the model, larger is better, (n,); NaN: pending.
        extra_sd: standard deviation of the noise beyond the common one, (n,).
        ships: whether the trial can be on the Pareto front: finished or pending, not stopped or failed, (n,).
    """

    pool: Pool
    values: Array
    extra_sd: Array
    ships: Array

    @property
    def known(self) -> Array:
        """Indices of the trials with a value."""
        return np.flatnonzero(np.isfinite(self.values))


@dataclass(frozen=True, slots=True)
class PoolPriors:
    """The functions of a `CostPrior` that the pool needs, evaluated on arrays of parameters."""

    axes: Axes
    cost: Cost
    train_usd: Callable[[Params], float] | None
    centre: Callable[[Params], Mapping[str, float]] | None

    def past(
        self, trials: Sequence[FrozenTrial], value_of: Callable[[float], float], stopped_sd: float
    ) -> Observations:
        """Earlier trials as arrays.

        Args:
            trials: Optuna trials in any state.
            value_of: converts the second objective to the objective of the model.
            stopped_sd: extra noise of a stopped trial's expected value.
        """
        rows, values, extra_sd, ships = [], [], [], []
        for trial in trials:
            value, extra, may_ship = np.nan, 0.0, True
            if trial.state is TrialState.COMPLETE:
                value = value_of(trial.values[1])
            elif trial.state is TrialState.PRUNED:
                if EXPECTED_VALUE not in trial.user_attrs:
                    continue
                value, extra, may_ship = value_of(trial.user_attrs[EXPECTED_VALUE]), stopped_sd, False
            elif trial.state is TrialState.FAIL:
                value, may_ship = -np.inf, False
            rows.append(self.axes.numbers(trial.params))
            values.append(value)
            extra_sd.append(extra)
            ships.append(may_ship)
        internal = np.array(rows, dtype=float).reshape(len(rows), len(self.axes.axes))
        return Observations(
            self.pool(internal), _clipped(np.array(values)), np.array(extra_sd), np.array(ships, dtype=bool)
        )

    def pool(self, internal: Array) -> Pool:
        """Evaluate the priors for each configuration, given as internal numbers (m, d)."""
        params = [self.axes.params(row) for row in internal.tolist()]
        variants = []
        for p in params:
            cost = self.cost(p)
            variants.append([(float(cost), 0.0)] if isinstance(cost, int | float) else list(cost))
        train_usd = [1.0 if self.train_usd is None else max(self.train_usd(p), 1e-12) for p in params]
        features = self.axes.features(internal, self.centres(params))
        return Pool(internal, params, features, VariantTable.of(variants), np.array(train_usd))

    def centres(self, params: Sequence[Params]) -> Array:
        """Relative position of the known good value of each parameter, (m, d); NaN where none is known."""
        centres = np.full((len(params), len(self.axes.axes)), np.nan)
        if self.centre is not None:
            index = {axis.name: i for i, axis in enumerate(self.axes.axes)}
            for row, p in enumerate(params):
                for name, position in self.centre(p).items():
                    if name in index:
                        centres[row, index[name]] = self.axes.axes[index[name]].unit_of_position(position)
        return centres

    def candidates(
        self, past: Observations, count: int, rng: np.random.Generator, *, near_centre: bool = False
    ) -> Pool:
        """About ``count`` new configurations that may be served.

        Half of them cover the whole space, a quarter is drawn around the centre, and a quarter around the front; with
        ``near_centre`` all are drawn around the centre, if there is one. A small discrete space is enumerated.
        """
        cube = self.axes.spread_out(count, rng)
        if self.axes.is_continuous.any():
            spread, centred = cube[: count // 2], self._centred(cube[count // 2 : 3 * count // 4], rng)
            cube = np.concatenate([spread, centred, self.near(past.pool.internal[_elites(past)], count // 4, rng)])
            if near_centre and self.centre is not None:
                cube = self._centred(cube, rng)
        return self.unseen(self.axes.internal(cube), past)

    def near(self, internal: Array, count: int, rng: np.random.Generator, sd: float = NEAR_SD) -> Array:
        """Points of the cube near these: a small step in each continuous parameter, and sometimes in a discrete one."""
        if not len(internal):
            return self.axes.spread_out(count, rng)[:0]
        base = self.axes.cube(internal)[np.arange(count) % len(internal)]
        steps = np.where(rng.random(base.shape) < 0.3, rng.choice([-1.0, 1.0], base.shape) * self.axes.steps, 0.0)
        moved = base + np.where(self.axes.is_continuous, sd * rng.standard_normal(base.shape), steps)
        return np.asarray(np.clip(moved, 0.0, 1.0))

    def perturbed(self, internal: Array, count: int, rng: np.random.Generator, sd: float) -> Array:
        """Perturb only the continuous parameters: ``count`` variations of each row of internal numbers."""
        base = np.repeat(self.axes.cube(internal), count, axis=0)
        moved = np.clip(base + sd * rng.standard_normal(base.shape), 0.0, 1.0)
        fine = np.where(self.axes.is_continuous, self.axes.internal(moved), np.repeat(internal, count, axis=0))
        return np.where(np.isnan(np.repeat(internal, count, axis=0)), np.nan, fine)

    def unseen(self, internal: Array, past: Observations) -> Pool:
        """Configurations that are new and may be served, without parameters that their method does not have."""
        internal = np.unique(self._without_inactive(internal, past.pool.internal), axis=0)
        taken = {tuple(row) for row in _plain(past.pool.internal)}
        fresh = [i for i, row in enumerate(_plain(internal)) if tuple(row) not in taken]
        pool = self.pool(internal[fresh])
        return pool.rows(np.flatnonzero(pool.variants.is_servable))

    def _centred(self, cube: Array, rng: np.random.Generator) -> Array:
        internal = self.axes.internal(cube)
        centres = self.centres([self.axes.params(row) for row in internal.tolist()])
        wanted = centres + CENTRED_SD * rng.standard_normal(cube.shape)
        for i, axis in enumerate(self.axes.axes):
            if (has := ~np.isnan(centres[:, i])).any():
                cube[has, i] = axis.nearest(wanted[has, i])
        return cube

    def _without_inactive(self, internal: Array, past: Array) -> Array:
        """Set parameters to NaN that no earlier trial with the same unordered values (such as the method) had."""
        unordered = [i for i, axis in enumerate(self.axes.axes) if not axis.has_order]
        internal = internal.copy()
        if not np.isnan(past).any():
            return internal
        keys = _plain(past[:, unordered])
        for key in {tuple(row) for row in keys}:
            same_key = np.array([tuple(row) == key for row in keys])
            lacks = np.isnan(past[same_key]).all(axis=0)
            rows = np.array([tuple(row) == key for row in _plain(internal[:, unordered])], dtype=bool)
            internal[np.ix_(rows, lacks)] = np.nan
        return internal


def _plain(internal: Array) -> list[list[float]]:
    """Rows that can be compared: NaN does not equal itself, so it becomes -inf."""
    return np.where(np.isnan(internal), -np.inf, internal).tolist()  # type: ignore[no-any-return]


def _clipped(values: Array) -> Array:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.where(np.isneginf(values), 0.0, values)
    middle, best = float(np.median(finite)), float(finite.max())
    low = max(float(finite.min()), middle - CLIP * (best - middle)) if best > middle else float(finite.min())
    return np.where(np.isnan(values), np.nan, np.maximum(values, low))


def _elites(past: Observations) -> Array:
    """Indices of the finished trials on the front, most expensive last; at most the best `ELITES`."""
    known = past.known[past.ships[past.known] & past.pool.variants.is_servable[past.known]]
    cost = past.pool.variants.log_costs[known, 0]
    best, front = -np.inf, []
    for i in known[np.lexsort((-past.values[known], cost))]:
        if past.values[i] > best:
            best = past.values[i]
            front.append(i)
    return np.array(front[-ELITES:], dtype=int)
