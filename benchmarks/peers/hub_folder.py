"""Write a trained network of ours as a folder that transformers opens: the same backbone, under BERT's names."""

import json
from pathlib import Path

__all__ = ["write_hub_folder"]

_NAMES = {
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}
_TOP = {
    "tokens.weight": "word_embeddings.weight",
    "positions.weight": "position_embeddings.weight",
    "types.weight": "token_type_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}


def write_hub_folder(checkpoint: Path, labels: list[str], target: Path) -> None:
    """Convert.

    Args:
        checkpoint: written by `lft_ray.models.network.save`, of the BERT family.
        labels: names of the head's outputs.
        target: the new folder. Its pooler and head are fresh: transformers' classifier has others than ours, of the
            same cost.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from lft_ray.models.network import load

    ours = load(checkpoint)
    shape = ours.shape
    config = BertConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.intermediate, layer_norm_eps=shape.norm_eps,
        max_position_embeddings=shape.positions, type_vocab_size=shape.token_types,
        id2label=dict(enumerate(labels)), label2id={label: at for at, label in enumerate(labels)},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = BertForSequenceClassification(config)
    missing, unknown = theirs.bert.load_state_dict(_renamed(ours.backbone.state_dict()), strict=False)
    if unknown or any(not name.startswith(("pooler.", "embeddings.position_ids")) for name in missing):
        raise SystemExit(f"the network does not fit BERT's names: unknown {unknown}, missing {missing}")
    theirs.save_pretrained(target)
    PreTrainedTokenizerFast(
        tokenizer_file=str(checkpoint / "tokenizer.json"), model_max_length=512, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(target)  # fmt: skip
    # transformers 5 names a class that 4, which some peers need, does not have.
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))


def _renamed(state: dict) -> dict:
    found = {}
    for name, value in state.items():
        if name in _TOP:
            found[f"embeddings.{_TOP[name]}"] = value
            continue
        _, number, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        before = f"encoder.layer.{number}."
        if part == "attention.qkv":
            for own, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{before}attention.self.{own}.{kind}"] = third.contiguous()
        else:
            found[f"{before}{_NAMES[part]}.{kind}"] = value
    return found
