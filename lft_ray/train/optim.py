"""Optimizer and learning-rate schedule. In: a network and four numbers. Never touches data.

Fused AdamW without decay on biases and LayerNorm weights; linear warm-up, then linear decay to zero.
"""

import math

import torch
from torch import nn

__all__ = ["build_optimizer", "decay_factor", "learning_rate_factor", "set_learning_rate"]


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


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at ``step`` (counted from 0) of ``total``.

    Args:
        step: 0 .. total - 1.
        total: optimiser steps of the schedule.
        warmup: share of the steps over which the rate rises.
    """
    rising = min(total - 1, round(total * warmup))
    if step < rising:
        return (step + 1) / (rising + 1)
    return (total - step) / (total - rising)


def decay_factor(peak: float, weight_decay: float, total: int, warmup: float) -> float:
    """What ``total`` steps of a whole schedule leave of a weight that never has a gradient.

    Args:
        peak: highest learning rate.
        weight_decay: of the weight's group; AdamW multiplies by 1 - rate x decay a step (arXiv 1711.05101).
        total: optimiser steps of the schedule.
        warmup: share of the steps over which the rate rises.
    """
    return math.prod(1.0 - peak * learning_rate_factor(step, total, warmup) * weight_decay for step in range(total))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
