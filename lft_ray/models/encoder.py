"""The transformer for BERT, RoBERTa, DistilBERT and GPT-2: one plain PyTorch block, post-norm or pre-norm.

In: token ids [n, t], or [n, t, 2] with segment numbers, and a mask [n, t]. Out: hidden states [n, t, hidden]. Never
pools, classifies or reads files.

The classes of transformers are not used because importing them takes 3.7 to 7.2 s on top of torch's 1.5 s, in every
worker and replica. Tests compare each family with transformers, so the outputs are the same.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lft_ray.models.architecture import Architecture

__all__ = ["Transformer", "apart", "run_layers"]

_MASKED_SCORE = -1e9
"""Added to attention scores of masked tokens: finite, and its exp is 0 in float32 and bfloat16."""


class Attention(nn.Module):
    """Multi-head self-attention with one matrix product for queries, keys and values.

    Deliberately eager: on a CPU in bf16, forward and backward of [40, 12, 52, 32] take 10 ms this way and 61 ms with
    scaled_dot_product_attention.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """Map states [n, t, hidden] and a bias that broadcasts to [n, heads, t, t] to [n, t, hidden]."""
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
    """Attention and feed-forward, each with a residual; post-norm for encoders, pre-norm for GPT-2."""

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
        """Map states [n, t, hidden] to [n, t, hidden]."""
        if self.norm_first:
            states = states + self.attention(self.attention_norm(states), bias)
            return states + self._feed_forward(self.output_norm(states))
        states = self.attention_norm(states + self.attention(states, bias))
        normed: Tensor = self.output_norm(states + self._feed_forward(states))
        return normed

    def _feed_forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.down(functional.gelu(self.up(states), approximate=self.approximate))
        return out


class Transformer(nn.Module):
    """Embeddings and transformer layers.

    Args:
        shape: architecture, already cut to the layers to keep.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.types = nn.Embedding(shape.token_types, shape.hidden) if shape.token_types else None
        # Encoders normalise the embeddings, decoders the final states: one norm in either case. Modules are registered
        # in execution order, which layer-wise learning-rate decay relies on.
        norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        if not shape.causal:
            self.norm = norm
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        if shape.causal:
            self.norm = norm

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute hidden states.

        Args:
            input_ids: int64 [n, t], padded on the right; [n, t, 2] with the number of the text of each token (0 or 1).
            attention_mask: int64 [n, t], 1 for tokens and 0 for padding.

        Returns:
            [n, t, hidden] in the dtype of the weights. Values at padded positions are meaningless.
        """
        states = run_layers(self.layers, self._embedded(input_ids), attention_mask, causal=self.shape.causal)
        return self.norm(states) if self.shape.causal else states

    def lower(self, input_ids: Tensor, attention_mask: Tensor, layers: int) -> Tensor:
        """Hidden states after the first ``layers`` layers, [n, t, hidden]; other arguments as for ``forward``."""
        states = self._embedded(input_ids)
        return run_layers(self.layers[:layers], states, attention_mask, causal=self.shape.causal)

    def _embedded(self, input_ids: Tensor) -> Tensor:
        states = self._embed(input_ids)
        return states if self.shape.causal else self.norm(states)

    def _embed(self, input_ids: Tensor) -> Tensor:
        first = self.shape.position_offset
        ids, types = apart(input_ids)
        states: Tensor = self.tokens(ids) + self.positions.weight[first : first + ids.shape[1]]
        if self.types is None:
            return states
        # A base with one segment, such as RoBERTa, tells two texts apart by their separators alone.
        return states + (self.types.weight[0] if types is None or self.shape.token_types < 2 else self.types(types))


def apart(inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Token ids [n, t] and segment numbers [n, t] or None, from either kind of input of a network."""
    return (inputs[..., 0], inputs[..., 1]) if inputs.dim() == 3 else (inputs, None)


def run_layers(layers: Iterable[nn.Module], states: Tensor, attention_mask: Tensor, *, causal: bool) -> Tensor:
    """Hidden states after a sequence of layers.

    Args:
        layers: `Layer` modules, in order.
        states: output of the previous layer or the embeddings, [n, t, hidden].
        attention_mask: int64 [n, t], 1 for tokens and 0 for padding.
        causal: whether each token attends only to itself and earlier tokens.
    """
    bias = _causal_bias(states) if causal else _padding_bias(attention_mask, states.dtype)
    for layer in layers:
        states = layer(states, bias)
    return states


def _padding_bias(mask: Tensor, dtype: torch.dtype) -> Tensor | None:
    # [n, 1, 1, t] broadcasts; a full [n, 1, t, t] mask would take t times the memory for the same result.
    # On a GPU, reading mask.all() would wait for the device; an unpadded batch there gets a bias of zeros.
    # A graph that is exported once for all texts cannot ask.
    if mask.device.type == "cpu" and not torch.compiler.is_exporting() and bool(mask.all()):
        return None
    return (1 - mask[:, None, None, :]).to(dtype) * _MASKED_SCORE


def _causal_bias(states: Tensor) -> Tensor:
    # Padding is on the right, where causal attention never looks, so the padding mask is not needed.
    t = states.shape[1]
    return torch.full((t, t), _MASKED_SCORE, dtype=states.dtype, device=states.device).triu(1)
