"""Load the safetensors of a base under the parameter names of our own encoder, once per process.

In: a folder and its `Architecture`. Out: float32 tensors by our names, shared and read-only. Weights of other parts
(pooler, language-model head, buffers) are ignored: our network does not have them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.errors import ModelError
from lft_ray.models.architecture import Architecture
from lft_ray.models.convert import SAFE_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["base_state"]

_PREFIX = re.compile(r"^(bert|roberta|distilbert|transformer)\.(?!layer\.)")
"""Prefix of encoder weights in a model with a head. DistilBERT's module ``transformer.layer`` is not one."""
_OLD_NORMS = ((".gamma", ".weight"), (".beta", ".bias"))
"""Norm names in checkpoints converted from TensorFlow, BERT-base among them."""

_BERT = {
    "embeddings.word_embeddings": "tokens",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "norm",
}
_BERT_LAYER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
_DISTIL = {
    "embeddings.word_embeddings": "tokens",
    "embeddings.position_embeddings": "positions",
    "embeddings.LayerNorm": "norm",
}
_DISTIL_LAYER = {
    "attention.q_lin": "attention.query",
    "attention.k_lin": "attention.key",
    "attention.v_lin": "attention.value",
    "attention.out_lin": "attention.out",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "up",
    "ffn.lin2": "down",
    "output_layer_norm": "output_norm",
}
_GPT2 = {"wte": "tokens", "wpe": "positions", "ln_f": "norm"}
_GPT2_LAYER = {
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "ln_1": "attention_norm",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
    "ln_2": "output_norm",
}
_NAMES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "bert": (_BERT, _BERT_LAYER, "encoder.layer."),
    "roberta": (_BERT, _BERT_LAYER, "encoder.layer."),
    "distilbert": (_DISTIL, _DISTIL_LAYER, "transformer.layer."),
    "gpt2": (_GPT2, _GPT2_LAYER, "h."),
}


@lru_cache(maxsize=2)
def base_state(folder: Path, shape: Architecture) -> "dict[str, Tensor]":
    """All weights of a base, by the names of `lft_ray.models.encoder.Transformer`.

    Two bases are cached per process, so that a second trial of the same base reads no file. Callers must copy tensors.

    Args:
        folder: folder with ``model.safetensors``.
        shape: whole architecture, not cut.

    Raises:
        ModelError: the file is damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / SAFE_WEIGHTS
    try:
        raw = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}", fix="download the base model again") from error
    translate = _translator(shape.family)
    state: dict[str, Tensor] = {}
    for name, value in raw.items():
        ours = translate(name)
        if ours is not None:
            # GPT-2 stores its linear layers as [in, out].
            transposed = (
                value.t() if shape.family == "gpt2" and value.dim() == 2 and ours.startswith("layers.") else value
            )
            state[ours] = transposed.to(torch.float32)
    _join_qkv(state, shape)
    return state


def _translator(family: str) -> Callable[[str], str | None]:
    top, inner, before = _NAMES[family]

    def translate(name: str) -> str | None:
        name = _PREFIX.sub("", name) if family != "distilbert" else name.removeprefix("distilbert.")
        for old, new in _OLD_NORMS:
            name = name.removesuffix(old) + new if name.endswith(old) else name
        part, _, kind = name.rpartition(".")
        if part in top:
            return f"{top[part]}.{kind}"
        if not part.startswith(before):
            return None
        number, _, rest = part.removeprefix(before).partition(".")
        return f"layers.{number}.{inner[rest]}.{kind}" if rest in inner else None

    return translate


def _join_qkv(state: "dict[str, Tensor]", shape: Architecture) -> None:
    import torch

    for number in range(shape.layers):
        for kind in ("weight", "bias"):
            names = [f"layers.{number}.attention.{part}.{kind}" for part in ("query", "key", "value")]
            if all(name in state for name in names):
                state[f"layers.{number}.attention.qkv.{kind}"] = torch.cat([state.pop(name) for name in names])
