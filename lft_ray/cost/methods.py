"""How much of a network a training method runs. In: a configuration, its size. Out: `Passes`. Pure; never measures.

The unit is a forward pass over one token; a backward pass of the whole network is two (Kaplan et al. 2020,
arXiv:2001.08361): one for the activations, one for the weights.
"""

from dataclasses import dataclass

from lft_ray.methods import FROZEN, HEAD, LORA
from lft_ray.records import TrialConfig

__all__ = ["HEAD_STEP_FLOPS", "WHOLE", "Passes", "passes_of"]

HEAD_STEP_FLOPS = 1e7
"""A step of the head alone is nothing but overhead: about 0.5 ms, at the 20 GFLOP/s that a forecast begins with."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Forward passes.

    Attributes:
        step: that a token costs in a training step.
        scoring: that a token costs in a validation pass before the last, which runs the whole network.
        shared: over train and validation, once.
        is_shared: whether one trial makes that pass for all; else each makes its own.
    """

    step: float = 3.0
    scoring: float = 1.0
    shared: float = 0.0
    is_shared: bool = False


WHOLE = Passes()
"""Every weight is trained."""


def passes_of(config: TrialConfig, *, layers: int, hidden: int, is_kept: bool) -> Passes:
    """What a trial of this configuration runs.

    Args:
        config: its method and the parameters of it.
        layers: of the network.
        hidden: its width.
        is_kept: whether what frozen layers answer is kept for all trials.
    """
    if config.method == HEAD:
        return Passes(0.0, 0.0, 1.0, is_kept)
    if config.method == FROZEN:
        below = (config.frozen_layers or 0) / layers
        if is_kept:
            return Passes(3.0 * (1.0 - below), 1.0 - below, below, is_shared=True)
        return Passes(1.0 + 2.0 * (1.0 - below))
    if config.method == LORA:
        # Beside the matrices of a layer, 12 x hidden^2, stand factors of 16 x hidden x rank (hidden to 3 x hidden, and
        # back and forth to 4 x hidden); of the matrices themselves no gradient is computed.
        factors = (config.lora_rank or 0) * 16.0 / (12.0 * hidden)
        return Passes(2.0 + 3.0 * factors, 1.0 + factors)
    return WHOLE
