"""The optimizer: fused AdamW with layer-wise learning rates, and no weight decay on biases and LayerNorm weights.

In: a network. Out: its optimizer. Never touches data.
"""

import re
from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["build_optimizer", "rate_factors", "set_learning_rate"]

_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
"""The first number in a weight's name is its layer, in our own encoder and in those of transformers."""
_FACTOR = "rate_factor"


def build_optimizer(
    network: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters.

    Args:
        network: network with float32 parameters.
        learning_rate: initial learning rate of the head.
        weight_decay: decay of matrices; biases and LayerNorm have none, since pulling a scale to zero only hurts.
        layer_decay: learning-rate factor per layer below the head; see `rate_factors`.
    """
    trainable = {name: weights for name, weights in network.named_parameters() if weights.requires_grad}
    factors = rate_factors(trainable, layer_decay)
    groups: list[dict[str, object]] = []
    for factor in sorted(set(factors.values()), reverse=True):
        members = [weights for name, weights in trainable.items() if factors[name] == factor]
        for params, decay in (
            ([p for p in members if p.ndim > 1], weight_decay),
            ([p for p in members if p.ndim <= 1], 0.0),
        ):
            if params:
                groups.append({"params": params, "weight_decay": decay, _FACTOR: factor})
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    set_learning_rate(optimizer, learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group, multiplied by the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(_FACTOR, 1.0)


def rate_factors(names: Iterable[str], layer_decay: float) -> dict[str, float]:
    """Learning-rate factor of each weight, falling from the head down (Howard & Ruder 2018, arXiv 1801.06146).

    1 for the head, ``layer_decay`` for the top layer, its square for the layer below, and so on; the embeddings are one
    step below the lowest layer.

    Args:
        names: names of the weights in execution order; those of the head begin with ``head.``.
        layer_decay: above 0, at most 1.
    """
    names = list(names)
    numbers = {name: int(found[1]) for name in names if (found := _LAYER.search(name)) is not None}
    top = max(numbers.values(), default=-1)
    factors, is_after_layers = {}, False
    for name in names:
        is_after_layers = is_after_layers or name in numbers
        # A final norm after the layers is as close to the head as the top layer.
        below = top + 1 - numbers[name] if name in numbers else 1 if is_after_layers else top + 2
        factors[name] = 1.0 if name.startswith("head.") else layer_decay**below
    return factors
