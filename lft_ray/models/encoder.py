"""The transformer itself, for BERT, RoBERTa, DistilBERT and GPT-2: one plain PyTorch block in two orders.

In: token ids [n, t] and a mask [n, t]. Out: token states [n, t, hidden]. Knows no pooling, head, file or task.

Why not the classes of transformers: importing them costs 3.7 to 7.2 s on top of torch's 1.5 s, in every worker and
replica. The tests compare each family with them, so the numbers are theirs.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lft_ray.models.architecture import Architecture

__all__ = ["Transformer", "run_layers"]

_HIDDEN = -1e9
"""Added to the scores of tokens that must not be seen: exp of it is 0 in float32 and in bfloat16, and it is finite."""


class Attention(nn.Module):
    """Multi-head self-attention with one matrix product for queries, keys and values.

    Eager on purpose: on a CPU in bf16, forward and backward of [40, 12, 52, 32] take 10 ms so and 61 ms through
    scaled_dot_product_attention.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """[n, t, hidden] and a bias that broadcasts to [n, heads, t, t] -> [n, t, hidden]."""
        n, t, hidden = states.shape
        width = hidden // self.heads
        query, key, value = self.qkv(states).view(n, t, 3, self.heads, width).permute(2, 0, 3, 1, 4).unbind(0)
        # Scaling the queries touches hidden x t numbers; scaling the scores would touch heads x t x t.
        scores = torch.matmul(query * width**-0.5, key.transpose(-1, -2))
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        mixed = torch.matmul(scores.softmax(-1), value)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, hidden))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each with a residual; norms after them (encoders) or before (GPT-2)."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.norm_first = shape.causal
        self.approximate = "tanh" if shape.activation == "gelu_tanh" else "none"
        self.attention = Attention(shape)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.up = nn.Linear(shape.hidden, shape.intermediate)
        self.down = nn.Linear(shape.intermediate, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """[n, t, hidden] -> [n, t, hidden]."""
        if self.norm_first:
            states = states + self.attention(self.attention_norm(states), bias)
            return states + self._feed(self.output_norm(states))
        states = self.attention_norm(states + self.attention(states, bias))
        normed: Tensor = self.output_norm(states + self._feed(states))
        return normed

    def _feed(self, states: Tensor) -> Tensor:
        fed: Tensor = self.down(functional.gelu(self.up(states), approximate=self.approximate))
        return fed


class Transformer(nn.Module):
    """Embeddings and layers.

    Args:
        shape: the architecture, already cut to the layers to keep.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.types = nn.Embedding(shape.token_types, shape.hidden) if shape.token_types else None
        # Encoders norm the embeddings, decoders the last states: one norm either way. Parts stand in the order in
        # which they are run: the decay of learning rates reads it.
        norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        if not shape.causal:
            self.norm = norm
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        if shape.causal:
            self.norm = norm

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token states.

        Args:
            input_ids: int64 [n, t], padded on the right.
            attention_mask: int64 [n, t], 1 for tokens and 0 for padding.

        Returns:
            [n, t, hidden] in the dtype of the weights. What stands at padded positions means nothing.
        """
        states = run_layers(self.layers, self._embedded(input_ids), attention_mask, causal=self.shape.causal)
        return self.norm(states) if self.shape.causal else states

    def lower(self, input_ids: Tensor, attention_mask: Tensor, layers: int) -> Tensor:
        """What comes out of the first ``layers`` layers, [n, t, hidden]; arguments as for ``forward``."""
        states = self._embedded(input_ids)
        return run_layers(self.layers[:layers], states, attention_mask, causal=self.shape.causal)

    def _embedded(self, input_ids: Tensor) -> Tensor:
        states = self._embed(input_ids)
        return states if self.shape.causal else self.norm(states)

    def _embed(self, input_ids: Tensor) -> Tensor:
        first = self.shape.position_offset
        states: Tensor = self.tokens(input_ids) + self.positions.weight[first : first + input_ids.shape[1]]
        return states if self.types is None else states + self.types.weight[0]


def run_layers(layers: Iterable[nn.Module], states: Tensor, attention_mask: Tensor, *, causal: bool) -> Tensor:
    """Token states behind some layers in a row.

    Args:
        layers: `Layer` each.
        states: [n, t, hidden], what comes out of the layer (or the embeddings) before them.
        attention_mask: int64 [n, t], 1 for tokens and 0 for padding.
        causal: whether each token sees only those before it.
    """
    bias = _causal_bias(states) if causal else _padding_bias(attention_mask, states.dtype)
    for layer in layers:
        states = layer(states, bias)
    return states


def _padding_bias(mask: Tensor, dtype: torch.dtype) -> Tensor | None:
    # [n, 1, 1, t], which broadcasts: a full [n, 1, t, t] mask costs t times the memory for the same sums.
    if mask.device.type == "cpu" and bool(mask.all()):
        return None
    return (1 - mask[:, None, None, :]).to(dtype) * _HIDDEN


def _causal_bias(states: Tensor) -> Tensor:
    # Padding stands on the right, where no real token looks: the mask of the batch is not needed.
    t = states.shape[1]
    return torch.full((t, t), _HIDDEN, dtype=states.dtype, device=states.device).triu(1)
