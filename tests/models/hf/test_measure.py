"""Parameters, FLOPs and unused weights counted without weights."""

import json

import pytest

from lft_ray.errors import ModelError
from lft_ray.models.hf.measure import measure

ELECTRA = {
    "model_type": "electra",
    "vocab_size": 50,
    "hidden_size": 16,
    "embedding_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def stats(**change):
    return measure(json.dumps(ELECTRA | change))


def test_measure_counts_one_more_layer_exactly():
    one, two = stats(), stats(num_hidden_layers=2)
    matrices = 4 * 16 * 16 + 2 * 16 * 32
    biases_and_norms = 4 * 16 + 32 + 16 + 4 * 16
    assert two.params - one.params == matrices + biases_and_norms
    assert two.flops - one.flops == pytest.approx(2 * matrices + 4 * 16 * one.tokens)


def test_measure_probes_no_more_tokens_than_positions():
    assert stats().tokens == 24
    assert stats(max_position_embeddings=512).tokens == 128


def test_measure_finds_the_positions_before_the_first_token():
    found = stats(model_type="mpnet", pad_token_id=1)
    assert (found.position_offset, found.tokens) == (2, 22)
    assert stats().position_offset == 0


def test_measure_rejects_a_network_that_reads_no_text():
    config = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(ModelError, match="reads pixel_values, not text"):
        measure(json.dumps(config))
