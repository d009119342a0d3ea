"""What the head of a network reads: one vector of each text, or the states of its tokens. Imports torch.

In: hidden states. Out: what a linear layer is applied to. A head of another kind is one more row of `READINGS`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lft_ray.models.engine_card import TOKENS
from lft_ray.models.sizes import ModelSize
from lft_ray.tasks.base import Head

__all__ = ["READINGS", "TOKENS", "masked", "pooled", "reading_of"]

_MASKED = -1e4
"""Logit of a position behind the end of a text: finite, and far below all others also in bf16."""


def _first(states: Tensor, attention_mask: Tensor) -> Tensor:
    del attention_mask
    return states[:, 0].float()


def _last(states: Tensor, attention_mask: Tensor) -> Tensor:
    last = attention_mask.sum(1) - 1
    return states[torch.arange(states.shape[0], device=states.device), last].float()


def _mean(states: Tensor, attention_mask: Tensor) -> Tensor:
    # Sum in float32: in bf16 the mean of 128 states has only two correct digits.
    weights = attention_mask.to(torch.float32).unsqueeze(-1)
    return (states.float() * weights).sum(1) / weights.sum(1)


def _all(states: Tensor, attention_mask: Tensor) -> Tensor:
    del attention_mask
    return states.float()


READINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": _first,
    "last": _last,
    TOKENS: _all,
}
"""Name, as ``pooling`` of the engine card -> what the head reads of hidden states [n, t, hidden] and a mask [n, t]."""


def reading_of(size: ModelSize, head: Head) -> str:
    """Return what a network of this size has its head read: of vectors, the pooling of its base model."""
    return TOKENS if head == "tokens" else size.pooling


def pooled(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Reduce hidden states to what the head reads.

    Args:
        states: hidden states [n, t, hidden].
        attention_mask: int64 [n, t], 1 for tokens and 0 for padding; each text has at least one token.
        pooling: one of `READINGS`.

    Returns:
        float32 [n, hidden]; for tokens [n, t, hidden].
    """
    return READINGS[pooling](states, attention_mask)


def masked(logits: Tensor, attention_mask: Tensor) -> Tensor:
    """Return logits of tokens [n, t, c] with those of the padding far below all others."""
    return logits.masked_fill(attention_mask.unsqueeze(-1) == 0, _MASKED)
