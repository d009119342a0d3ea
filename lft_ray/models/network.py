"""A network: a transformer, and a linear head on one vector of each text or on each token. Build, save, load.

In: `BaseFiles` and a `ModelSize`, or a folder written by `save`. Out: a `TextNetwork` in float32, dropout 0. Never
trains, never tokenises, never downloads.
"""

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from lft_ray.errors import BundleError, LftError, ModelError
from lft_ray.models.architecture import Architecture
from lft_ray.models.convert import CONFIG, SAFE_WEIGHTS, TOKENIZER, TOKENIZER_FILES
from lft_ray.models.encoder import Transformer
from lft_ray.models.engine_card import TOKENS, EngineCard
from lft_ray.models.heads import READINGS, masked, pooled, reading_of
from lft_ray.models.hf.architecture import HfArchitecture, Shape, read_shape
from lft_ray.models.hf.network import HfBackbone, initialised, pretrained, restored
from lft_ray.models.resolve import BaseFiles
from lft_ray.models.sizes import ModelSize
from lft_ray.models.weights import base_state
from lft_ray.tasks.base import Head

__all__ = ["PRECISIONS", "HeadedNetwork", "TextNetwork", "at_precision", "build", "load", "save"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precision as named in an experiment -> dtype of the backbone."""
_INITIAL_STD = 0.02
"""Standard deviation of randomly initialised weights, as in BERT and GPT-2."""


class HeadedNetwork(nn.Module, ABC):
    """A linear head on top of a feature extractor.

    Attributes:
        pooling: what the head reads: mean, cls, last or tokens.
        head: linear layer from the hidden size to c outputs.
    """

    pooling: str
    head: nn.Linear

    @abstractmethod
    def features(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Features of each text, float32 [n, hidden], from ``inputs`` [n, t, ...] and a mask [n, t] (1 for tokens).

        Where the head reads tokens, those of each token: [n, t, hidden].
        """

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, float32 [n, outputs], of tokens [n, t, outputs]; arguments as for ``features``."""
        vectors = self.features(inputs, attention_mask)
        # The head runs in float32 even under autocast: the cost is negligible, and rounding would flip near ties.
        with torch.autocast(vectors.device.type, enabled=False):
            logits: Tensor = self.head(vectors.to(self.head.weight.dtype))
        return masked(logits.float(), attention_mask) if self.pooling == TOKENS else logits.float()


class TextNetwork(HeadedNetwork):
    """Token ids to logits.

    Args:
        shape: architecture of the transformer, already cut to the layers to keep.
        outputs: number of head outputs c.
        pooling: what the head reads: mean, cls, last or tokens.
        backbone: network of the same architecture; None: our own encoder, for an `Architecture`.
    """

    def __init__(self, shape: Shape, outputs: int, pooling: str, backbone: HfBackbone | None = None) -> None:
        super().__init__()
        if pooling not in READINGS:
            raise ModelError(f"unknown pooling {pooling!r}: expected one of {', '.join(READINGS)}")
        self.shape = shape
        self.pooling = pooling
        self.backbone: Transformer | HfBackbone
        if isinstance(shape, Architecture):
            self.backbone = Transformer(shape)
        elif backbone is not None:
            self.backbone = backbone
        else:
            raise ModelError(f"a network of family {shape.family} needs a backbone")
        self.head = nn.Linear(shape.hidden, outputs)

    @property
    def pad_id(self) -> int:
        """Token id used as padding."""
        return self.shape.pad_id

    @property
    def outputs(self) -> int:
        """Number of head outputs c."""
        return self.head.out_features

    def features(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """What the head reads of each text, float32 [n, hidden] or [n, t, hidden]; arguments as for ``states``."""
        return pooled(self.states(inputs, attention_mask), attention_mask, self.pooling)

    def states(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute hidden states [n, t, hidden].

        Args:
            inputs: token ids, int64 [n, t], padded on the right; t at most ``shape.max_tokens``. Of two texts
                [n, t, 2], with the number of the text of each token.
            attention_mask: int64 [n, t], 1 for tokens and 0 for padding.
        """
        states: Tensor = self.backbone(inputs, attention_mask)
        return states


def build(
    base: BaseFiles, size: ModelSize, outputs: int, *, head: Head = "vector", random: bool = False, seed: int = 0
) -> TextNetwork:
    """Build a network from a base cut to ``size.layers``, with a randomly initialised head.

    Args:
        base: files of the base model; with ``random`` only its config is read.
        size: model size; gives pooling and number of layers.
        outputs: number of head outputs.
        head: what the head reads.
        random: initialise all weights randomly, to profile an architecture whose weights are not available.
        seed: seed of the random weights. The global random state is not changed.

    Raises:
        ModelError: files are damaged or inconsistent with each other.
    """
    whole = _read_shape(base.folder)
    shape = whole.cut(size.layers or whole.layers)
    backbone = None
    if isinstance(whole, HfArchitecture) and isinstance(shape, HfArchitecture):
        backbone = initialised(shape, seed) if random else pretrained(base.folder, whole, shape)
    # Built without storage: every tensor is assigned below, so nothing is initialised twice.
    with torch.device("meta"):
        network = TextNetwork(shape, outputs, reading_of(size, head), backbone)
    generator = torch.Generator().manual_seed(seed)
    state = _random_state(network.head, "head.", generator)
    if isinstance(whole, HfArchitecture) or isinstance(network.backbone, HfBackbone):
        network.load_state_dict(state, assign=True, strict=False)
        return network
    if random:
        state |= _random_state(network.backbone, "backbone.", generator)
    else:
        state |= _copied(network.backbone, base, whole)
    network.load_state_dict(state, assign=True)
    return network


def at_precision(network: TextNetwork, precision: str) -> TextNetwork:
    """Cast a network in place for serving, the backbone to the precision and the head to float32; return the network.

    Raises:
        ModelError: the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    # Not backbone.to(), which would also round buffers: rotary position tables in bf16 are off by whole turns. Our own
    # encoder has no buffers.
    for weights in network.backbone.parameters():
        weights.data = weights.data.to(PRECISIONS[precision])
    network.head.to(torch.float32)
    return network


def save(network: TextNetwork, folder: Path, *, tokenizer_from: Path, card: EngineCard) -> None:
    """Write a folder that the torch engine can open.

    Args:
        network: network in float32.
        folder: target folder; created if missing.
        tokenizer_from: folder with the ``tokenizer.json`` to copy.
        card: written as ``engine.json``; its pooling and outputs must match the network.

    Raises:
        ModelError: the card does not match the network.
    """
    from safetensors.torch import save_file

    if (card.pooling, card.outputs) != (network.pooling, network.outputs):
        raise ModelError(
            f"engine card says pooling {card.pooling!r} and {card.outputs} outputs, but the network has "
            f"{network.pooling!r} and {network.outputs}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(network.shape.to_config(), indent=2, sort_keys=True)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    state = {name: value.detach().to("cpu").contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / SAFE_WEIGHTS)
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, folder / name)
    card.write(folder)


def load(folder: Path) -> TextNetwork:
    """Read a folder written by `save`.

    Raises:
        BundleError: files are missing, damaged or inconsistent with each other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = EngineCard.read(folder)
    try:
        shape = _read_shape(folder)
        state = load_file(folder / SAFE_WEIGHTS)
        # Copy the memory-mapped tensors: the file may be replaced while the network is in use.
        copies = {name: value.to(torch.float32, copy=True) for name, value in state.items()}
        backbone = restored(shape, _with_prefix("backbone.", copies)) if isinstance(shape, HfArchitecture) else None
        with torch.device("meta"):
            network = TextNetwork(shape, card.outputs, card.pooling, backbone)
        if backbone is None:
            network.load_state_dict(copies, assign=True)
        else:
            network.head.load_state_dict(_with_prefix("head.", copies), assign=True)
    except (OSError, SafetensorError, RuntimeError, LftError) as error:
        raise BundleError(f"{folder} cannot be opened as a network: {error}") from error
    if not (folder / TOKENIZER).is_file():
        raise BundleError(f"{folder} has no {TOKENIZER}")
    return network


def _with_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _read_shape(folder: Path) -> Shape:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read: {error}") from error
    return read_shape(config, where=str(folder))


def _random_state(part: nn.Module, prefix: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights for every parameter of a module: normal matrices, norm weights of one, biases of zero."""
    state = {}
    for name, value in part.state_dict().items():
        if value.dim() > 1:
            state[prefix + name] = torch.empty(value.shape).normal_(0.0, _INITIAL_STD, generator=generator)
        else:
            state[prefix + name] = torch.full(value.shape, float("norm" in name and name.endswith("weight")))
    return state


def _copied(backbone: Transformer, base: BaseFiles, whole: Architecture) -> dict[str, Tensor]:
    """Copies of the base's weights for every parameter of the (cut) backbone."""
    known = base_state(base.folder, whole)
    state = {}
    for name, value in backbone.state_dict().items():
        if name not in known or known[name].shape != value.shape:
            raise ModelError(
                f"the weights of {base.folder} have no {name} of shape {tuple(value.shape)}, "
                "which their config.json requires",
                fix="download the base model again, or choose another",
            )
        state["backbone." + name] = known[name].clone()
    return state
