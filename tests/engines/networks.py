"""Trained networks of tiny bases, and the logits of an engine for a few texts."""

from pathlib import Path
from typing import Any

import numpy as np

from lft_ray.config import ModelSpec
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes

TEXTS = ["the team won the match", "stocks fell as the bank raised its rate", "x", "a warm and funny book " * 9]


def trained(
    folder: Path, source: Path, *, max_length: int = 32, spread: float = 40.0, outlier: float = 0.0, segments: int = 1
) -> Path:
    spec = ModelSpec(base=str(source))
    size = model_sizes([spec])[0]
    network = build(find_base(spec), size, 3)
    network.head.weight.data *= spread
    if outlier:
        # A feature that hardly varies, as a probe on standardised features weighs it.
        layers: Any = network.backbone.layers
        layers[-1].output_norm.weight.data[0] = 1e-4
        network.head.weight.data[:, 0] = outlier
    card = EngineCard(
        engine="torch", model_size="tiny:2", outputs=3, max_length=max_length, pooling=size.pooling, segments=segments
    )
    save(network, folder, tokenizer_from=source, card=card)
    return folder


def logits_of(engine, folder: Path, precision: str) -> np.ndarray:
    runner = engine.open(folder, precision=precision, threads=1)
    return runner.run(runner.encode(TEXTS))
