"""Write a small BERT of random weights around a given vocabulary, as a base folder for ``models``.

python benchmarks/random_encoder.py TOKENIZER OUTPUT [--layers 4] [--hidden 128] [--positions 128] [--seed 0]

For languages of which no pretrained encoder is at hand: what a small network learns from the labels alone, beside
TF-IDF. TOKENIZER is a folder with ``tokenizer.json`` (and ``tokenizer_config.json``), such as that of
bert-base-chinese.
"""

import argparse
import json
import shutil
from pathlib import Path

STD = 0.02
"""Standard deviation of the weights, as BERT's were initialised."""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    size = write(args.tokenizer, args.output, args.layers, args.hidden, args.positions, args.seed)
    print(
        f"{args.output}: {args.layers} layers x {args.hidden}, {size / 1e6:.1f}M parameters, random (seed {args.seed})"
    )


def write(tokenizer: Path, output: Path, layers: int, hidden: int, positions: int, seed: int) -> int:
    """Write config, tokenizer and weights; return the number of parameters."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    read = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    config = BertConfig(
        vocab_size=read.get_vocab_size(),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        max_position_embeddings=positions,
        pad_token_id=read.token_to_id("[PAD]"),
        initializer_range=STD,
    )
    torch.manual_seed(seed)
    model = BertModel(config, add_pooling_layer=False)
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    shutil.copyfile(tokenizer / "tokenizer.json", output / "tokenizer.json")
    settings = tokenizer / "tokenizer_config.json"
    if settings.is_file():
        (output / settings.name).write_text(json.dumps(json.loads(settings.read_text(encoding="utf-8")), indent=1))
    return sum(weights.numel() for weights in model.parameters())


if __name__ == "__main__":
    main()
