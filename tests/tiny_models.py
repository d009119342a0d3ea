"""Tiny real base models in the files that the hub uses: config.json, model.safetensors, tokenizer.json. Seeded."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SENTENCES = [
    "the team won the match after a late goal in the second half",
    "stocks fell as the bank raised its interest rate again",
    "the film was a quiet and moving story with fine actors",
    "scientists found water on a small moon near the giant planet",
    "voters went to the polls to choose a new president today",
    "a new phone with a faster chip was shown by the company",
    "what a terrible waste of time, the plot made no sense",
    "I loved every minute of this warm and funny book",
    "the coach said her players were tired but proud of the cup",
    "oil prices rose while the market waited for the report",
    "researchers trained a network to read handwriting in seconds",
    "the minister met leaders from 3 countries to talk about peace",
    "Quick brown foxes jump over lazy dogs; pack my box with five dozen jugs!",
    "0 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k l m n o p q r s t u v w x y z . , ? ! ' \" - : ; ( )",
]
HIDDEN, LAYERS, HEADS, INTERMEDIATE = 32, 2, 4, 64
STD = 0.1


def write_tiny_bert(folder: Path) -> Path:
    """Two layers, hidden 32, its own word pieces, 512 positions."""
    vocab = _wordpiece(folder)
    config = {
        "model_type": "bert",
        "vocab_size": vocab,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 0,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocab, HIDDEN),
        "embeddings.position_embeddings.weight": (512, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= _linear(layer + name, HIDDEN, HIDDEN)
        shapes |= _linear(layer + "intermediate.dense", INTERMEDIATE, HIDDEN)
        shapes |= _linear(layer + "output.dense", HIDDEN, INTERMEDIATE)
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
    # A pooler, as real checkpoints have it: it must be left out quietly.
    shapes |= _linear("pooler.dense", HIDDEN, HIDDEN)
    return _write(folder, config, shapes, norms)


def write_tiny_gpt(folder: Path) -> Path:
    """A GPT-2 of two layers, hidden 32, byte-level tokens without an end token, 256 positions."""
    vocab = _byte_level(folder)
    config = {
        "model_type": "gpt2",
        "vocab_size": vocab,
        "n_embd": HIDDEN,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_positions": 256,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "eos_token_id": vocab - 1,
        "bos_token_id": vocab - 1,
    }
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (vocab, HIDDEN), "wpe.weight": (256, HIDDEN)}
    norms = ["ln_f"]
    for number in range(LAYERS):
        layer = f"h.{number}."
        # GPT-2 stores [in, out].
        for name, rows, columns in (
            ("attn.c_attn", HIDDEN, 3 * HIDDEN),
            ("attn.c_proj", HIDDEN, HIDDEN),
            ("mlp.c_fc", HIDDEN, 4 * HIDDEN),
            ("mlp.c_proj", 4 * HIDDEN, HIDDEN),
        ):
            shapes |= {f"{layer}{name}.weight": (rows, columns), f"{layer}{name}.bias": (columns,)}
        norms += [layer + "ln_1", layer + "ln_2"]
    return _write(folder, config, shapes, norms)


FOREIGN: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "share_att_key": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
    },
    "modernbert": {
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
    },
    "mpnet": {"pad_token_id": 1},
    "qwen2": {"num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": 3, "pad_token_id": None},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16, "bos_token_id": None, "eos_token_id": 3, "pad_token_id": None},
    "llama": {"num_key_value_heads": 2, "rope_theta": 1e5, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": None},
    "t5": {"d_kv": 8, "num_decoder_layers": 2, "feed_forward_proj": "gated-gelu", "eos_token_id": 3},
}
"""Architectures that only transformers knows: what their configs need beside the common values."""
_T5_NAMES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "n_positions",
}
"""T5 has its own names for the common values; its positions are relative."""


def write_tiny_foreign(folder: Path, family: str) -> Path:
    """A network of transformers with two layers, hidden 32, word pieces and 128 positions."""
    from transformers import AutoConfig, AutoModel

    common: dict[str, Any] = {
        "vocab_size": _wordpiece(folder),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    if family == "t5":
        common = {_T5_NAMES.get(name, name): value for name, value in common.items()}
    generator = torch.Generator().manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **(common | FOREIGN[family])))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, 1.0 if weights.dim() == 1 else 0.0, STD, generator=generator)
    model.save_pretrained(folder)
    return folder


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _write(folder: Path, config: dict, shapes: dict[str, tuple[int, ...]], norms: list[str]) -> Path:
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.empty(shape).normal_(0.0, STD, generator=generator) for name, shape in shapes.items()}
    for name in norms:
        state[f"{name}.weight"] = 1.0 + torch.empty(HIDDEN).normal_(0.0, STD, generator=generator)
        state[f"{name}.bias"] = torch.empty(HIDDEN).normal_(0.0, STD, generator=generator)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _wordpiece(folder: Path) -> int:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, show_progress=False)
    tokenizer._tokenizer.post_processor = BertProcessing(
        ("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]"))
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def _byte_level(folder: Path) -> int:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES, vocab_size=400, min_frequency=1, show_progress=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()
