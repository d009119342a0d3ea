"""Networks of transformers without their weights: what they hold and compute. In: a config as JSON. Out: counts.

Everything runs on torch's meta device, so nothing is read or allocated. Imports transformers and torch, both lazily.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any

from lft_ray.errors import ModelError

__all__ = ["Measure", "drop_pooler", "empty_model", "measure", "quiet", "read_config", "states_without_weights"]

_PROBE_TOKENS = 128
"""Length of the text whose forward pass is counted: the length at which a model size states its FLOPs."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What one pass over the network without weights tells."""

    params: int
    flops: float
    """Forward FLOPs of one token in a text of ``tokens`` tokens, counted."""
    tokens: int
    unused: tuple[str, ...]
    """Weights that the token states do not depend on (XLNet's mask vector): never trained, for DDP waits for all."""
    position_offset: int


def read_config(text: str) -> Any:
    """A fresh config object of transformers from `ForeignShape.config`."""
    from transformers import CONFIG_MAPPING

    values = json.loads(text)
    return CONFIG_MAPPING[values["model_type"]].from_dict(values)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' reports and progress bars off the screen: what matters of them, we raise."""
    from transformers.utils import logging

    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def empty_model(text: str) -> tuple[Any, dict[str, bool]]:
    """The network on the meta device, without its pooler, and the option that leaves the pooler out."""
    import torch
    from transformers import AutoModel

    with quiet(), torch.device("meta"):
        auto: Any = AutoModel
        model = auto.from_config(read_config(text), attn_implementation="eager", trust_remote_code=False)
        options = {"add_pooling_layer": False} if "add_pooling_layer" in signature(type(model)).parameters else {}
        if options:
            model = auto.from_config(read_config(text), attn_implementation="eager", trust_remote_code=False, **options)
    drop_pooler(model)
    return model, options


def drop_pooler(model: Any) -> None:
    """Remove a pooler that could not be left out: its weights would never get a gradient."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


@lru_cache(maxsize=64)
def measure(text: str) -> Measure:
    """Count one pass over the network of a config.

    Raises:
        ModelError: it does not read text.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = empty_model(text)[0]
    if model.main_input_name != "input_ids":
        raise ModelError(f"{type(model).__name__} reads {model.main_input_name}, not text", fix="choose a text model")
    offset = max((part.padding_idx + 1 for name, part in model.named_modules() if _is_padded(name, part)), default=0)
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    tokens = min(_PROBE_TOKENS, positions - offset) if positions > 0 else _PROBE_TOKENS
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    # The pass is traced even where the caller is in inference mode, or the unused weights could not be told.
    with quiet(), torch.inference_mode(False), torch.enable_grad():
        with FlopCounterMode(display=False) as counter:
            states = states_without_weights(model, ids)
        torch.autograd.backward(states.sum())
    unused = tuple(name for name, weights in model.named_parameters() if weights.grad is None)
    params = sum(weights.numel() for weights in model.parameters())
    return Measure(params, counter.get_total_flops() / tokens, tokens, unused, offset)


def states_without_weights(model: Any, ids: Any) -> Any:
    """Token states of a network on the meta device, for counting and tracing."""
    import torch

    # Many encoders ask whether the mask is all ones, or look for padding where there is none, and a tensor without
    # content cannot tell. Others (DeBERTa, decoders) need the mask or do not ask.
    model.config.pad_token_id = None
    try:
        return model(input_ids=ids)[0]
    except RuntimeError:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


def _is_padded(name: str, part: Any) -> bool:
    # MPNet, like RoBERTa, numbers positions from pad_id + 1, so the first rows hold no token.
    return name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None
