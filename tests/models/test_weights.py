"""Weights of a base under the names of our encoder."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lft_ray.errors import ModelError
from lft_ray.models.architecture import Architecture
from lft_ray.models.weights import base_state

SHAPE = Architecture("bert", 4, 2, 1, 1, 2, 4, token_types=2)


def test_base_state_joins_queries_keys_and_values_in_this_order(tiny_bert):
    raw = load_file(tiny_bert / "model.safetensors")
    vocab = len(raw["embeddings.word_embeddings.weight"])
    state = base_state(tiny_bert, Architecture("bert", vocab, 32, 2, 4, 64, 512, token_types=2))
    parts = [raw[f"encoder.layer.1.attention.self.{part}.weight"] for part in ("query", "key", "value")]
    assert torch.equal(state["layers.1.attention.qkv.weight"], torch.cat(parts))
    assert not any("pooler" in name or "query" in name for name in state)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("bert.embeddings.LayerNorm.gamma", "norm.weight"),
        ("bert.encoder.layer.0.output.LayerNorm.beta", "layers.0.output_norm.bias"),
        ("embeddings.token_type_embeddings.weight", "types.weight"),
        ("cls.predictions.bias", None),
    ],
)
def test_base_state_translates_names_and_drops_other_parts(tmp_path, name, ours):
    save_file({name: torch.ones(2, dtype=torch.float16)}, tmp_path / "model.safetensors")
    state = base_state(tmp_path, SHAPE)
    assert list(state) == ([ours] if ours else [])
    assert all(value.dtype == torch.float32 for value in state.values())


def test_base_state_transposes_the_linear_layers_of_gpt2_only(tmp_path):
    table, matrix = torch.rand(5, 3), torch.rand(3, 9)
    save_file({"wte.weight": table, "h.0.attn.c_attn.weight": matrix}, tmp_path / "model.safetensors")
    state = base_state(tmp_path, Architecture("gpt2", 5, 3, 1, 1, 12, 4, causal=True))
    assert torch.equal(state["tokens.weight"], table)
    assert torch.equal(state["layers.0.attention.qkv.weight"], matrix.t())


def test_base_state_rejects_a_damaged_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot be read"):
        base_state(tmp_path, SHAPE)
