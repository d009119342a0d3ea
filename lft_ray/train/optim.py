"""The optimizer: fused AdamW without decay on biases and LayerNorm weights. In: a network. Never touches data."""

import torch
from torch import nn

__all__ = ["build_optimizer", "set_learning_rate"]


def build_optimizer(network: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters.

    Args:
        network: float32 parameters.
        learning_rate: the peak, reached at the end of the warm-up.
        weight_decay: for matrices; vectors (biases, LayerNorm) have none, since pulling a scale to zero only hurts.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
