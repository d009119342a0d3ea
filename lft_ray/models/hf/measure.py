"""Count parameters and FLOPs of transformers networks without weights. In: a config as JSON. Out: `NetworkStats`.

Everything runs on torch's meta device: never reads or allocates weights. Imports transformers and torch lazily.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any

from lft_ray.errors import ModelError

__all__ = [
    "ENCODER_HALVES", "NetworkStats", "auto_class", "drop_unused", "empty_model", "measure", "quiet", "read_config",
    "states_without_weights",
]  # fmt: skip

ENCODER_HALVES = ("t5", "mt5", "umt5")
"""Encoder-decoders whose encoder is a network of its own in transformers; the decoder is left out."""
_PROBE_TOKENS = 128
"""Tokens of the counted forward pass: the length at which a model size states its FLOPs."""


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """Results of one forward and backward pass on the meta device."""

    params: int
    """Parameters without the pooler."""
    flops: float
    """Forward FLOPs per token in a text of ``tokens`` tokens, counted."""
    tokens: int
    unused: tuple[str, ...]
    """Weights that do not affect the hidden states (XLNet's mask vector); frozen, since DDP waits for all gradients."""
    position_offset: int
    """Rows of the position table before the first token's."""


def read_config(config_json: str) -> Any:
    """Return a new transformers config object from `HfArchitecture.config`."""
    from transformers import CONFIG_MAPPING

    values = json.loads(config_json)
    return CONFIG_MAPPING[values["model_type"]].from_dict(values)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the reports and progress bars of transformers; relevant problems are raised as errors."""
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


def empty_model(config_json: str) -> tuple[Any, dict[str, bool]]:
    """Return the network on the meta device without a pooler, and the constructor options that omit the pooler."""
    import torch

    with quiet(), torch.device("meta"):
        auto = auto_class(read_config(config_json))
        model = auto.from_config(read_config(config_json), attn_implementation="eager", trust_remote_code=False)
        options = {"add_pooling_layer": False} if "add_pooling_layer" in signature(type(model)).parameters else {}
        # Whether the class takes the option is only known once it is built, which is cheap on the meta device.
        if options:
            model = auto.from_config(
                read_config(config_json), attn_implementation="eager", trust_remote_code=False, **options
            )
    drop_unused(model)
    return model, options


def auto_class(config: Any) -> Any:
    """The class of transformers that builds the network of a config: of an encoder-decoder, its encoder."""
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if config.model_type in ENCODER_HALVES else AutoModel


def drop_unused(model: Any) -> None:
    """Remove what the hidden states do not need: a pooler that the constructor could not omit, whose weights would
    never get a gradient, and the second name of an encoder half's token embedding, which no file could hold twice.
    """
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if model.config.model_type in ENCODER_HALVES:
        model.shared = None


@lru_cache(maxsize=64)
def measure(config_json: str) -> NetworkStats:
    """Count parameters, FLOPs and unused weights of the network of a config.

    Raises:
        ModelError: the network does not read text.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = empty_model(config_json)[0]
    if model.main_input_name != "input_ids":
        raise ModelError(f"{type(model).__name__} reads {model.main_input_name}, not text", fix="choose a text model")
    offset = max(
        (part.padding_idx + 1 for name, part in model.named_modules() if _has_position_offset(name, part)), default=0
    )
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    tokens = min(_PROBE_TOKENS, positions - offset) if positions > 0 else _PROBE_TOKENS
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    # Gradients are needed to find unused weights, even where the caller is in inference mode.
    with quiet(), torch.inference_mode(False), torch.enable_grad():
        with FlopCounterMode(display=False) as counter:
            states = states_without_weights(model, ids)
        torch.autograd.backward(states.sum())
    unused = tuple(name for name, weights in model.named_parameters() if weights.grad is None)
    params = sum(weights.numel() for weights in model.parameters())
    return NetworkStats(params, counter.get_total_flops() / tokens, tokens, unused, offset)


def states_without_weights(model: Any, ids: Any) -> Any:
    """Hidden states of a network on the meta device, for counting and tracing."""
    import torch

    # Many encoders test whether the mask is all ones, or search for padding without a mask, and meta tensors have no
    # values to test. Others (DeBERTa, decoders) need the mask or do not test it.
    model.config.pad_token_id = None
    try:
        return model(input_ids=ids)[0]
    except RuntimeError:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


def _has_position_offset(name: str, part: Any) -> bool:
    # MPNet, like RoBERTa, numbers positions from pad_id + 1, so the first rows hold no token.
    return name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None
