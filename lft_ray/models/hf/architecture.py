"""Shapes of networks that are not our own: any text architecture of transformers, described by its ``config.json``.

In: the dictionary of a config file. Out: a frozen `ForeignShape` with the numbers that `Architecture` has. Imports
transformers and torch, both lazily: only a base that our own encoder does not know pays for it. Never reads weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lft_ray.errors import ModelError, nearest
from lft_ray.models.architecture import FAMILIES, Architecture, refuse_code
from lft_ray.models.hf.measure import measure, quiet, read_config

__all__ = ["ForeignShape", "Shape", "read_shape"]

_NOT_KEPT = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
_NEEDED = ("vocab_size", "hidden_size", "num_hidden_layers")
_PER_LAYER = ("layer_types", "no_rope_layers")
"""Ends of keys that hold one value a layer, which a cut must shorten."""


@dataclass(frozen=True, slots=True)
class ForeignShape:
    """A network of transformers, cut to ``layers``."""

    family: str
    config: str
    """The config as JSON with sorted keys."""
    hidden: int
    layers: int
    pad_id: int
    causal: bool
    """True: each token sees only those before it, so the last one speaks for the text."""

    @property
    def max_tokens(self) -> int | None:
        """Longest text in tokens; None: positions are relative and set no limit."""
        config = read_config(self.config)
        positions = getattr(config, "max_position_embeddings", None) or 0
        if getattr(config, "position_biased_input", True) is False or positions <= 0:
            return None
        return int(positions) - measure(self.config).position_offset

    @property
    def params(self) -> int:
        """Weights of the kept network without pooler and head; layers that share weights count once."""
        return measure(self.config).params

    @property
    def encoder_params(self) -> int:
        """Weights that one token is multiplied with: shared ones as often as they are used, embedding tables never."""
        counted = measure(self.config)
        return round((counted.flops - 4.0 * self.layers * self.hidden * counted.tokens) / 2.0)

    def flops_per_token(self, length: int) -> float:
        """Forward FLOPs of one token in a text of ``length`` tokens."""
        return 2.0 * self.encoder_params + 4.0 * self.layers * self.hidden * length

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of weights that no answer depends on."""
        return measure(self.config).unused

    def cut(self, layers: int) -> "ForeignShape":
        """The same network with its first ``layers`` layers.

        Raises:
            ModelError: its layers share weights in groups, which a cut would mix up.
        """
        if layers == self.layers:
            return self
        config = read_config(self.config)
        if (getattr(config, "num_hidden_groups", None) or 1) > 1:
            raise ModelError(
                f"{self.family} with several groups of shared layers cannot be cut", fix="leave out layers"
            )
        config.num_hidden_layers = layers
        for key, value in config.to_dict().items():
            if key.endswith(_PER_LAYER) and isinstance(value, list | tuple) and len(value) == self.layers:
                setattr(config, key, list(value)[:layers])
        return replace(self, config=_text(config), layers=layers)

    def to_config(self) -> dict[str, Any]:
        """The ``config.json`` of this network, which ``from_config`` reads back as an equal value."""
        config: dict[str, Any] = json.loads(self.config)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> "ForeignShape":
        """Read a ``config.json``.

        Raises:
            ModelError: transformers does not know the family or the values, it is no plain text encoder or decoder, or
                it asks for code to be run.
        """
        refuse_code(config, where=where)
        known = _parsed(dict(config), where)
        _refuse_others(known, where)
        _without_dropout(known)
        pad = known.pad_token_id if known.pad_token_id is not None else getattr(known, "eos_token_id", None)
        shape = cls(
            family=known.model_type,
            config=_text(known),
            hidden=int(known.hidden_size),
            layers=int(known.num_hidden_layers),
            pad_id=int((pad[0] if isinstance(pad, list) else pad) or 0),
            causal=_is_causal(known),
        )
        try:
            measure(shape.config)
        except Exception as error:  # whatever a network of transformers raises
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"the network of {where} ({shape.family}) cannot be run: {type(error).__name__}: {error}",
                fix="choose another base, or a name of the ladder (lft env --models)",
            ) from error
        return shape


Shape = Architecture | ForeignShape
"""A network of our own, or one of transformers."""


def read_shape(config: Mapping[str, Any], *, where: str) -> Shape:
    """Read a ``config.json`` of any family; imports transformers only for those that are not our own.

    Raises:
        ModelError: as for `Architecture.from_config` and `ForeignShape.from_config`.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or not family or family in FAMILIES:
        return Architecture.from_config(config, where=where)
    return ForeignShape.from_config(config, where=where)


def _parsed(config: dict[str, Any], where: str) -> Any:
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    family = str(config["model_type"])
    if family not in CONFIG_MAPPING or CONFIG_MAPPING[family] not in MODEL_MAPPING:
        raise ModelError(
            f"model family {family!r} of {where} is not supported: neither one of {', '.join(sorted(FAMILIES))}, nor "
            f"known to transformers.{nearest(family, FAMILIES)}",
            fix="choose a base of another family, or a name of the ladder (lft env --models)",
        )
    for key in _NOT_KEPT:
        config.pop(key, None)
    try:
        with quiet():
            return CONFIG_MAPPING[family].from_dict(config)
    except Exception as error:  # each config class checks in its own way
        raise ModelError(f"config.json of {where} lacks or misstates something: {error}") from error


def _refuse_others(config: Any, where: str) -> None:
    reason = ""
    if getattr(config, "is_encoder_decoder", False):
        reason = "is an encoder-decoder: texts are classified with an encoder or a decoder alone"
    elif getattr(config, "sub_configs", None):
        reason = "is made of several networks (such as text and image)"
    elif getattr(config, "quantization_config", None):
        reason = "has quantised weights, which cannot be fine-tuned"
    elif not all(isinstance(getattr(config, key, None), int) for key in _NEEDED):
        reason = f"is not a text model: its config lacks one of {', '.join(_NEEDED)}"
    if reason:
        raise ModelError(
            f"{where} ({config.model_type}) {reason}", fix="choose an encoder such as ELECTRA, or a decoder"
        )


def _without_dropout(config: Any) -> None:
    values = config.to_dict()
    if "use_cache" in values:
        config.use_cache = False
    for key, value in values.items():
        if "drop" in key and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, 0.0)


def _is_causal(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if getattr(config, "is_causal", None) is False or getattr(config, "use_bidirectional_attention", None):
        return False
    if getattr(config, "is_decoder", False):
        return True
    return config.model_type in set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)


def _text(config: Any) -> str:
    values = {key: value for key, value in config.to_dict().items() if key not in _NOT_KEPT}
    return json.dumps(values, sort_keys=True)
