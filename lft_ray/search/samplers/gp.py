"""Gaussian process regression: Matern-5/2 kernel, one length scale per feature group, learned noise. NumPy and SciPy.

In: features in about [0, 1], values, extra noise of each value beyond the common noise. Out: posterior mean and
standard deviation. Deterministic: no random restarts, no state.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

__all__ = ["GaussianProcess"]

Array = np.ndarray[Any, Any]
FIT_POINTS = 96
"""Maximum points for fitting hyperparameters, evenly spaced in time: 200 points would take four times as long."""
MAX_STEPS = 25
SCALE_PRIOR, NOISE_PRIOR, SIGNAL_PRIOR = (1.0, 1.0), (-2.3, 0.8), (0.5, 1.0)
"""Mean and standard deviation of the log-normal priors on length scale, noise and signal (of standardised values).
Without priors, 10 trials fit a ridge through any one feature."""
BOUND = 3.0
"""Bound on a hyperparameter, in standard deviations from the prior's mean."""
GRAIN = 0.01
"""Hyperparameters are rounded to this: the optimiser's last bits differ between machines, and proposals must not."""
JITTER = 1e-8
FLAT = 1e-6
"""Values with a standard deviation below this count as equal."""


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A Gaussian process posterior. Created by `fit`; `extended` adds points without refitting.

    Attributes:
        x: features, (n, d).
        groups: index of the length scale of each feature, (d,).
        z: standardised values, (n,).
        extra: extra noise variance of each value beyond the common noise, standardised, (n,).
        scaling: mean and standard deviation of the values.
        log_scales: natural logarithms of the length scales, then of the noise and signal standard deviations.
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
        """Fit hyperparameters (maximum a posteriori) and condition on all values.

        Args:
            x: features, (n, d), n at least 1.
            y: values, (n,).
            groups: features with the same index (0, 1, ... without gaps) share a length scale, (d,).
            extra_sd: standard deviation of each value's extra noise, in units of y, (n,); None: no extra noise.
        """
        centre, spread = float(np.mean(y)), float(np.std(y))
        spread = spread if spread > FLAT else 1.0
        z = (y - centre) / spread
        extra = np.zeros(len(y)) if extra_sd is None else (extra_sd / spread) ** 2
        chosen = np.unique(np.linspace(0, len(y) - 1, FIT_POINTS).round().astype(int)) if len(y) > FIT_POINTS else ...
        log_scales = _fit_hyperparameters(x[chosen], z[chosen], extra[chosen], groups)
        return cls._conditioned(x, groups, z, extra, (centre, spread), log_scales)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of the noise-free function at ``x``, (m, d): two arrays (m,)."""
        cross = _kernel(self.x, x, self.groups, self.log_scales)
        mean = cross.T @ self.weights
        half = self.lower @ cross
        variance = np.exp(2 * self.log_scales[-1]) - np.einsum("ij,ij->j", half, half)
        centre, spread = self.scaling
        return centre + spread * mean, spread * np.sqrt(np.maximum(variance, 1e-12))

    def extended(self, x: Array, y: Array) -> "GaussianProcess":
        """The posterior with additional points ``x`` (m, d) and ``y`` (m,), under the same hyperparameters."""
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


def _fit_hyperparameters(x: Array, z: Array, extra: Array, groups: Array) -> Array:
    from scipy.optimize import minimize

    count = int(groups.max()) + 1 if len(groups) else 0
    # Squared distances per group, computed once: a step of the optimiser is then two matrix-vector products.
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
    """Negative log posterior of the hyperparameters, and its gradient."""
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
