"""Temperature scaling of the logits of one label per text (Guo et al. 2017, arXiv:1706.04599). NumPy, scipy to fit."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_temperature", "top_probability"]

_TEMPERATURES = (0.05, 20.0)


def top_probability(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Calibrated probability of the top label, float64 [n], from logits [n, c]."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    # Shifted by the maximum, the exponential of the top label is exactly 1: its softmax is one over the sum.
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    top: NDArray[np.float64] = 1.0 / shifted.sum(axis=1)
    return top


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The temperature of maximum likelihood, by bounded search over its logarithm.

    Args:
        logits: float [n, c].
        truth: int64 [n], label indices.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    chosen = values[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((np.log(np.exp(values / temperature).sum(axis=1)) - chosen / temperature).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))
