"""A transformer of another architecture, run through ``transformers.AutoModel`` behind the interface of `Transformer`.

In: a `ForeignShape` and weights. Out: token states [n, t, hidden]. Never runs code that comes with a model, never reads
a pickle. Importing transformers costs seconds, so only networks that our own encoder does not know come here.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lft_ray.errors import ModelError
from lft_ray.models.convert import SAFE_WEIGHTS
from lft_ray.models.hf.architecture import ForeignShape
from lft_ray.models.hf.measure import drop_pooler, empty_model, quiet, read_config, states_without_weights

__all__ = ["ForeignBackbone", "fresh", "pretrained", "restored"]

_POOLER = "pooler."


class ForeignBackbone(nn.Module):
    """A network of transformers that answers with its token states only.

    Args:
        shape: already cut; its unused weights are frozen, for DDP waits for the gradient of every other.
        model: of this shape, float32, without a pooler.
    """

    def __init__(self, shape: ForeignShape, model: Any) -> None:
        super().__init__()
        self.shape = shape
        self.model: Any = model
        frozen = set(shape.unused)
        for name, weights in model.named_parameters():
            weights.requires_grad_(name not in frozen)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token states.

        Args:
            input_ids: int64 [n, t], padded on the right with the shape's ``pad_id``.
            attention_mask: int64 [n, t], 1 for tokens and 0 for padding.

        Returns:
            [n, t, hidden]. What stands at padded positions means nothing.
        """
        states: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return states

    def names_below(self, layers: int) -> list[str]:
        """Names of the weights that the states behind the first ``layers`` layers depend on, embeddings included.

        Raises:
            ModelError: the layers share weights, or are not to be found.
        """
        return [f"model.{name}" for name in _names_below(self.shape, layers)]


@lru_cache(maxsize=64)
def _names_below(shape: ForeignShape, layers: int) -> tuple[str, ...]:
    model = empty_model(shape.config)[0]
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == shape.layers]
    if not lists or layers >= shape.layers:
        raise ModelError(
            f"the layers of {shape.family} cannot be frozen one by one: they share weights, or are not told apart",
            fix="leave method frozen out for it, or use full, lora or head",
        )
    seen: list[Tensor] = []

    def look(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(arguments[0] if arguments else named["hidden_states"])

    lists[0][layers].register_forward_pre_hook(look, with_kwargs=True)
    names, weights = zip(*model.named_parameters(), strict=True)
    with quiet(), torch.inference_mode(False), torch.enable_grad():
        states_without_weights(model, torch.zeros(1, 8, dtype=torch.long, device="meta"))
        found = torch.autograd.grad(seen[0].sum(), weights, allow_unused=True)
    return tuple(name for name, gradient in zip(names, found, strict=True) if gradient is not None)


def fresh(shape: ForeignShape, seed: int) -> ForeignBackbone:
    """Fresh weights, as the architecture itself draws them. The global random state is not touched."""
    from transformers import AutoModel

    _, options = empty_model(shape.config)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        auto: Any = AutoModel
        model = auto.from_config(
            read_config(shape.config), attn_implementation="eager", trust_remote_code=False, **options
        )
    drop_pooler(model)
    return ForeignBackbone(shape, model.float())


def pretrained(folder: Path, whole: ForeignShape, shape: ForeignShape) -> ForeignBackbone:
    """A base's weights, cut to ``shape``.

    Args:
        folder: holds ``model.safetensors``.
        whole: the base's own shape.
        shape: the layers to keep.

    Raises:
        ModelError: the file is damaged or lacks weights that the config promises.
    """
    names = empty_model(shape.config)[0].state_dict()
    known = _base_state(folder, whole)
    return _assembled(shape, {name: known[name] for name in names if name in known}, str(folder))


def restored(shape: ForeignShape, state: Mapping[str, Tensor]) -> ForeignBackbone:
    """The backbone of a saved network.

    Args:
        shape: as its config says.
        state: by the names of `ForeignBackbone`; copied.

    Raises:
        ModelError: names are missing or too many.
    """
    own = {name.removeprefix("model."): value for name, value in state.items()}
    extra = sorted(set(own) - set(empty_model(shape.config)[0].state_dict()))
    if extra:
        raise ModelError(f"the weights have {', '.join(extra[:3])}, which their config.json does not know")
    return _assembled(shape, own, "the saved network")


@lru_cache(maxsize=2)
def _base_state(folder: Path, whole: ForeignShape) -> dict[str, Tensor]:
    """All weights of a base by transformers' names, read once a process; never to be changed."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / SAFE_WEIGHTS
    try:
        raw = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}", fix="fetch the base model again") from error
    state: dict[str, Tensor] = _loaded(whole, raw, str(folder)).state_dict()
    return state


def _assembled(shape: ForeignShape, state: Mapping[str, Tensor], where: str) -> ForeignBackbone:
    # Copies: transformers puts the very tensors that it is given into the network.
    copies = {name: value.clone() for name, value in state.items()}
    return ForeignBackbone(shape, _loaded(shape, copies, where))


def _loaded(shape: ForeignShape, state: dict[str, Tensor], where: str) -> Any:
    """The network with these weights; names of other parts (heads, cut layers) are left out quietly."""
    empty, options = empty_model(shape.config)
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            # No path, so that nothing but these tensors is looked at: no adapters, no pickles, no hub.
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
            f"the weights of {where} do not fit their config.json: {error}",
            fix="fetch the base model again, or choose another",
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(_POOLER))
    if missing:
        raise ModelError(
            f"the weights of {where} have no {', '.join(missing[:3])} ({len(missing)} missing), "
            "which their config.json promises",
            fix="fetch the base model again, or choose another",
        )
    drop_pooler(model)
    return model.eval()
