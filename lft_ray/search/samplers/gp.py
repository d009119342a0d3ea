"""One Gaussian process: a Matern-5/2 kernel with a length scale per feature group and a learned noise. NumPy alone.

In: features in about [0, 1], values, and how much noise each value has beyond the common one. Out: mean and standard
deviation anywhere. Equal arguments give equal answers; no random start, no state.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

__all__ = ["GaussianProcess"]

Array = np.ndarray[Any, Any]
FIT_POINTS = 96
"""Points that hyperparameters are fitted on, evenly spaced in time: 200 of them cost four times the seconds."""
MAX_STEPS = 25
SCALE_PRIOR, NOISE_PRIOR, SIGNAL_PRIOR = (1.0, 1.0), (-2.3, 0.8), (0.5, 1.0)
"""Mean and deviation of the natural logarithms of length scale, noise and signal deviation (of standardised values).
Without them 10 trials fit a ridge through any one feature."""
BOUND = 3.0
"""Deviations from the prior's mean at which a hyperparameter is held."""
GRAIN = 0.01
"""Hyperparameters are rounded to this: the last bits of an optimiser differ between machines, a proposal must not."""
JITTER = 1e-8
FLAT = 1e-6
"""A deviation of values below this is no information: they count as equal."""


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A posterior. Made by `fit`; `extended` adds points without another fit.

    Attributes:
        x: features, (n, d).
        groups: index of the length scale of each feature, (d,).
        z: standardised values, (n,).
        extra: variance of each value beyond the common noise, standardised, (n,).
        scaling: mean and deviation of the values.
        log_scales: natural logarithms of the length scales, then of the noise's and the signal's deviation.
    """

    x: Array
    groups: Array
    z: Array
    extra: Array
    scaling: tuple[float, float]
    log_scales: Array
    lower: Array
    """Inverse of the Cholesky factor of the values' covariance, (n, n)."""
    weights: Array

    @classmethod
    def fit(cls, x: Array, y: Array, *, groups: Array, extra_sd: Array | None = None) -> Self:
        """Fit hyperparameters (most probable under the priors) and condition on all values.

        Args:
            x: features, (n, d), n at least 1.
            y: values, (n,).
            groups: features with the same index, from 0 on without gaps, share a length scale, (d,).
            extra_sd: deviation of each value's noise beyond the common one, in units of y, (n,).
        """
        centre, spread = float(np.mean(y)), float(np.std(y))
        spread = spread if spread > FLAT else 1.0
        z = (y - centre) / spread
        extra = np.zeros(len(y)) if extra_sd is None else (extra_sd / spread) ** 2
        chosen = np.unique(np.linspace(0, len(y) - 1, FIT_POINTS).round().astype(int)) if len(y) > FIT_POINTS else ...
        log_scales = _most_probable(x[chosen], z[chosen], extra[chosen], groups)
        return cls._conditioned(x, groups, z, extra, (centre, spread), log_scales)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function (without noise) at ``x``, (m, d): two arrays (m,)."""
        cross = _kernel(self.x, x, self.groups, self.log_scales)
        mean = cross.T @ self.weights
        half = self.lower @ cross
        variance = np.exp(2 * self.log_scales[-1]) - np.einsum("ij,ij->j", half, half)
        centre, spread = self.scaling
        return centre + spread * mean, spread * np.sqrt(np.maximum(variance, 1e-12))

    def extended(self, x: Array, y: Array) -> "GaussianProcess":
        """The posterior with more points, (m, d) and (m,), under the same hyperparameters."""
        centre, spread = self.scaling
        z = np.concatenate([self.z, (y - centre) / spread])
        extra = np.concatenate([self.extra, np.zeros(len(y))])
        return self._conditioned(np.concatenate([self.x, x]), self.groups, z, extra, self.scaling, self.log_scales)

    @classmethod
    def _conditioned(
        cls, x: Array, groups: Array, z: Array, extra: Array, scaling: tuple[float, float], log_scales: Array
    ) -> Self:
        covariance = _kernel(x, x, groups, log_scales)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * log_scales[-2]) + extra + JITTER
        lower = _inverse_of_factor(np.linalg.cholesky(covariance))
        return cls(x, groups, z, extra, scaling, log_scales, lower, lower.T @ (lower @ z))


def _inverse_of_factor(factor: Array) -> Array:
    from scipy.linalg.lapack import dtrtri

    return np.asarray(dtrtri(factor, lower=1)[0])


def _kernel(a: Array, b: Array, groups: Array, log_scales: Array) -> Array:
    inverse = np.exp(-log_scales[:-2])[groups]
    a, b = a * inverse, b * inverse
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    distance = np.sqrt(5 * np.maximum(squared, 0.0))
    return np.asarray(np.exp(2 * log_scales[-1]) * (1 + distance + distance * distance / 3) * np.exp(-distance))


def _priors(count: int) -> tuple[Array, Array]:
    means, deviations = zip(*([SCALE_PRIOR] * count), NOISE_PRIOR, SIGNAL_PRIOR, strict=True)
    return np.array(means), np.array(deviations)


def _most_probable(x: Array, z: Array, extra: Array, groups: Array) -> Array:
    from scipy.optimize import minimize

    count = int(groups.max()) + 1 if len(groups) else 0
    # Squared distance a group, so that a step of the optimiser is two matrix-vector products.
    cubes = np.zeros((count, len(x), len(x)))
    for column, group in enumerate(groups):
        cubes[group] += (x[:, None, column] - x[None, :, column]) ** 2
    squares = cubes.reshape(count, -1)
    means, deviations = _priors(count)
    bounds = list(zip(means - BOUND * deviations, means + BOUND * deviations, strict=True))
    found = minimize(
        _loss,
        means,
        args=(squares, z, extra, means, deviations),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MAX_STEPS, "maxfun": 2 * MAX_STEPS},
    )
    return np.asarray(np.round(found.x / GRAIN) * GRAIN)


def _loss(
    log_scales: Array, squares: Array, z: Array, extra: Array, means: Array, deviations: Array
) -> tuple[float, Array]:
    """Minus log posterior of the hyperparameters, and its gradient."""
    n = len(z)
    inverse = np.exp(-2 * log_scales[:-2])
    noise, signal = np.exp(2 * log_scales[-2:])
    distance = np.sqrt(5 * (inverse @ squares)).reshape(n, n)
    decay = np.exp(-distance)
    kernel = signal * (1 + distance + distance * distance / 3) * decay
    covariance = kernel.copy()
    covariance[np.diag_indices(n)] += noise + extra + JITTER
    factor = np.linalg.cholesky(covariance)
    lower = _inverse_of_factor(factor)
    weights = lower.T @ (lower @ z)
    outer = np.outer(weights, weights) - lower.T @ lower
    slope = (outer * (signal * 5 / 3 * (1 + distance) * decay)).ravel()
    gradient = np.concatenate([inverse * (squares @ slope) / 2, [noise * np.trace(outer), (outer * kernel).sum()]])
    off = (log_scales - means) / deviations
    value = 0.5 * float(z @ weights) + float(np.log(np.diag(factor)).sum()) + 0.5 * float(off @ off)
    return value, off / deviations - gradient
