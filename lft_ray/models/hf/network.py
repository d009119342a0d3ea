"""Architectures outside our own encoder, run through ``transformers.AutoModel`` with the interface of `Transformer`.

In: an `HfArchitecture` and weights. Out: hidden states [n, t, hidden]. Never runs code that comes with a model, never
reads a pickle. Importing transformers takes seconds, so only networks that our own encoder cannot run are built here.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lft_ray.errors import ModelError
from lft_ray.models.convert import SAFE_WEIGHTS
from lft_ray.models.encoder import apart
from lft_ray.models.hf.architecture import HfArchitecture
from lft_ray.models.hf.measure import (
    ENCODER_HALVES,
    auto_class,
    drop_unused,
    empty_model,
    quiet,
    read_config,
    states_without_weights,
)

__all__ = ["HfBackbone", "initialised", "pretrained", "restored"]

_POOLER = "pooler."
_SHARED, _TOKENS = "shared.weight", "encoder.embed_tokens.weight"
"""Two names of the token embedding of an encoder half; we store the second."""


class HfBackbone(nn.Module):
    """A transformers network that returns only its hidden states.

    Args:
        shape: architecture, already cut. Its unused weights are frozen, since DDP waits for every other gradient.
        model: network of this architecture, float32, without a pooler.
    """

    def __init__(self, shape: HfArchitecture, model: Any) -> None:
        super().__init__()
        self.shape = shape
        self.model: Any = model
        self._has_segments = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
        frozen = set(shape.unused)
        for name, weights in model.named_parameters():
            weights.requires_grad_(name not in frozen)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute hidden states.

        Args:
            input_ids: int64 [n, t], padded on the right with ``shape.pad_id``; [n, t, 2] with segment numbers.
            attention_mask: int64 [n, t], 1 for tokens and 0 for padding.

        Returns:
            [n, t, hidden]. Values at padded positions are meaningless.
        """
        ids, types = apart(input_ids)
        segments = {"token_type_ids": types} if types is not None and self._has_segments else {}
        states: Tensor = self.model(input_ids=ids, attention_mask=attention_mask, **segments)[0]
        return states

    def names_below(self, layers: int) -> list[str]:
        """Names of the weights up to layer ``layers``: those that its input depends on, embeddings included.

        Raises:
            ModelError: the layers share weights, or cannot be identified.
        """
        return [f"model.{name}" for name in _names_below(self.shape, layers)]


@lru_cache(maxsize=64)
def _names_below(shape: HfArchitecture, layers: int) -> tuple[str, ...]:
    model = empty_model(shape.config)[0]
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == shape.layers]
    if not lists or layers >= shape.layers:
        raise ModelError(
            f"the layers of {shape.family} cannot be frozen one by one: they share weights or cannot be identified",
            fix="leave method frozen out for it, or use full, lora or head",
        )
    layer_inputs: list[Tensor] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        layer_inputs.append(arguments[0] if arguments else named["hidden_states"])

    lists[0][layers].register_forward_pre_hook(record, with_kwargs=True)
    names, weights = zip(*model.named_parameters(), strict=True)
    with quiet(), torch.inference_mode(False), torch.enable_grad():
        states_without_weights(model, torch.zeros(1, 8, dtype=torch.long, device="meta"))
        gradients = torch.autograd.grad(layer_inputs[0].sum(), weights, allow_unused=True)
    return tuple(name for name, gradient in zip(names, gradients, strict=True) if gradient is not None)


def initialised(shape: HfArchitecture, seed: int) -> HfBackbone:
    """Build a backbone with the architecture's own random initialisation. The global random state is not changed."""
    _, options = empty_model(shape.config)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = auto_class(read_config(shape.config)).from_config(
            read_config(shape.config), attn_implementation="eager", trust_remote_code=False, **options
        )
    drop_unused(model)
    return HfBackbone(shape, model.float())


def pretrained(folder: Path, whole: HfArchitecture, shape: HfArchitecture) -> HfBackbone:
    """Build a backbone from the weights of a base, cut to ``shape``.

    Args:
        folder: folder with ``model.safetensors``.
        whole: architecture of the base.
        shape: architecture with the layers to keep.

    Raises:
        ModelError: the file is damaged or lacks weights that the config requires.
    """
    names = empty_model(shape.config)[0].state_dict()
    known = _base_state(folder, whole)
    return _assembled(shape, {name: known[name] for name in names if name in known}, str(folder))


def restored(shape: HfArchitecture, state: Mapping[str, Tensor]) -> HfBackbone:
    """Rebuild the backbone of a saved network.

    Args:
        shape: architecture in its config.
        state: weights by the parameter names of `HfBackbone`; copied.

    Raises:
        ModelError: names are missing or unexpected.
    """
    own = {name.removeprefix("model."): value for name, value in state.items()}
    extra = sorted(set(own) - set(empty_model(shape.config)[0].state_dict()))
    if extra:
        raise ModelError(f"the weights have {', '.join(extra[:3])}, which their config.json does not define")
    return _assembled(shape, own, "the saved network")


@lru_cache(maxsize=2)
def _base_state(folder: Path, whole: HfArchitecture) -> dict[str, Tensor]:
    """All weights of a base by the names of transformers, cached per process; read-only."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / SAFE_WEIGHTS
    try:
        raw = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}", fix="download the base model again") from error
    state: dict[str, Tensor] = _loaded(whole, raw, str(folder)).state_dict()
    return state


def _assembled(shape: HfArchitecture, state: Mapping[str, Tensor], where: str) -> HfBackbone:
    # Copy: transformers assigns the tensors it is given to the network without copying.
    copies = {name: value.clone() for name, value in state.items()}
    return HfBackbone(shape, _loaded(shape, copies, where))


def _loaded(shape: HfArchitecture, state: dict[str, Tensor], where: str) -> Any:
    """Build the network with these weights; names of other parts (heads, removed layers) are ignored."""
    empty, options = empty_model(shape.config)
    if shape.family in ENCODER_HALVES and _SHARED not in state and _TOKENS in state:
        state = {**state, _SHARED: state[_TOKENS]}
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            # No path, so that only these tensors are loaded: no adapters, no pickles, no hub.
            model, report = type(empty).from_pretrained(
                None,
                config=read_config(shape.config),
                state_dict=state,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
                **options,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            f"the weights of {where} do not match their config.json: {error}",
            fix="download the base model again, or choose another",
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(_POOLER))
    if missing:
        raise ModelError(
            f"the weights of {where} have no {', '.join(missing[:3])} ({len(missing)} missing), "
            "which their config.json requires",
            fix="download the base model again, or choose another",
        )
    drop_unused(model)
    return model.eval()
