"""Architectures run through transformers: any text encoder or decoder, described by its ``config.json``.

In: the parsed config. Out: a frozen `HfArchitecture` with the same numbers as `Architecture`. Imports transformers and
torch lazily, so that only bases that our own encoder cannot run pay for the import. Never reads weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lft_ray.errors import ModelError, nearest
from lft_ray.models.architecture import FAMILIES, Architecture, refuse_code
from lft_ray.models.hf.measure import ENCODER_HALVES, measure, quiet, read_config

__all__ = ["HfArchitecture", "Shape", "read_shape"]

_DROPPED_KEYS = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
"""Keys that do not describe the network; without them equal networks have equal configs."""
_REQUIRED_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers")
_PER_LAYER = ("layer_types", "no_rope_layers")
"""Suffixes of keys with one value per layer, which must be shortened with the layers."""


@dataclass(frozen=True, slots=True)
class HfArchitecture:
    """A transformers architecture, cut to ``layers`` layers."""

    family: str
    config: str
    """Config as JSON with sorted keys."""
    hidden: int
    layers: int
    pad_id: int
    causal: bool
    """Whether attention is causal, so that only the last token has seen the whole text."""

    @property
    def max_tokens(self) -> int | None:
        """Longest text in tokens; None for relative positions, which set no limit."""
        config = read_config(self.config)
        positions = getattr(config, "max_position_embeddings", None) or 0
        if getattr(config, "position_biased_input", True) is False or positions <= 0:
            return None
        return int(positions) - measure(self.config).position_offset

    @property
    def params(self) -> int:
        """Parameters of the network without pooler and head; weights shared between layers count once."""
        return measure(self.config).params

    @property
    def encoder_params(self) -> int:
        """Parameters used per token: shared ones count as often as they are used, embedding tables never."""
        stats = measure(self.config)
        # Counted FLOPs less the two attention products, at two per weight.
        return round((stats.flops - 4.0 * self.layers * self.hidden * stats.tokens) / 2.0)

    def flops_per_token(self, length: int) -> float:
        """Forward FLOPs per token in a text of ``length`` tokens."""
        return 2.0 * self.encoder_params + 4.0 * self.layers * self.hidden * length

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of weights that the output does not depend on."""
        return measure(self.config).unused

    def cut(self, layers: int) -> "HfArchitecture":
        """Return the same network with only its first ``layers`` layers.

        Raises:
            ModelError: its layers share weights in several groups, which a cut would reassign.
        """
        if layers == self.layers:
            return self
        config = read_config(self.config)
        if (getattr(config, "num_hidden_groups", None) or 1) > 1:
            raise ModelError(
                f"{self.family} with several groups of shared layers cannot be cut", fix="remove layers from this model"
            )
        config.num_hidden_layers = layers
        for key, value in config.to_dict().items():
            if key.endswith(_PER_LAYER) and isinstance(value, list | tuple) and len(value) == self.layers:
                setattr(config, key, list(value)[:layers])
        return replace(self, config=_config_json(config), layers=layers)

    def to_config(self) -> dict[str, Any]:
        """Return the ``config.json`` of this network; ``from_config`` reads it back as an equal value."""
        config: dict[str, Any] = json.loads(self.config)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> "HfArchitecture":
        """Read a ``config.json``.

        Raises:
            ModelError: transformers does not know the family or rejects the values, the network is not a plain text
                encoder or decoder, or the config requires running code.
        """
        refuse_code(config, where=where)
        known = _parse(dict(config), where)
        _reject_unsupported(known, where)
        _without_dropout(known)
        pad = known.pad_token_id if known.pad_token_id is not None else getattr(known, "eos_token_id", None)
        shape = cls(
            family=known.model_type,
            config=_config_json(known),
            hidden=int(known.hidden_size),
            layers=int(known.num_hidden_layers),
            pad_id=int((pad[0] if isinstance(pad, list) else pad) or 0),
            causal=_is_causal(known),
        )
        try:
            measure(shape.config)
        except Exception as error:  # any error of a network of transformers
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"the network of {where} ({shape.family}) cannot be run: {type(error).__name__}: {error}",
                fix="choose another base, or a name of the ladder (lft env --models)",
            ) from error
        return shape


Shape = Architecture | HfArchitecture
"""Architecture of our own encoder, or of transformers."""


def read_shape(config: Mapping[str, Any], *, where: str) -> Shape:
    """Read a ``config.json`` of any family; imports transformers only for families that our own encoder cannot run.

    Raises:
        ModelError: as for `Architecture.from_config` and `HfArchitecture.from_config`.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or not family or family in FAMILIES:
        return Architecture.from_config(config, where=where)
    return HfArchitecture.from_config(config, where=where)


def _parse(config: dict[str, Any], where: str) -> Any:
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    family = str(config["model_type"])
    if family not in CONFIG_MAPPING or CONFIG_MAPPING[family] not in MODEL_MAPPING:
        raise ModelError(
            f"model family {family!r} of {where} is not supported: neither one of {', '.join(sorted(FAMILIES))}, nor "
            f"known to transformers.{nearest(family, FAMILIES)}",
            fix="choose a base of another family, or a name of the ladder (lft env --models)",
        )
    for key in _DROPPED_KEYS:
        config.pop(key, None)
    try:
        with quiet():
            return CONFIG_MAPPING[family].from_dict(config)
    except Exception as error:  # config classes of transformers raise many types
        raise ModelError(f"config.json of {where} is invalid: {error}") from error


def _reject_unsupported(config: Any, where: str) -> None:
    reason = ""
    if getattr(config, "is_encoder_decoder", False) and config.model_type not in ENCODER_HALVES:
        halves = ", ".join(ENCODER_HALVES)
        reason = f"is an encoder-decoder; of these only {halves} are supported, with their encoder alone"
    elif getattr(config, "sub_configs", None):
        reason = "consists of several networks (such as text and image)"
    elif getattr(config, "quantization_config", None):
        reason = "has quantised weights, which cannot be fine-tuned"
    elif not all(isinstance(getattr(config, key, None), int) for key in _REQUIRED_KEYS):
        reason = f"is not a text model: its config lacks one of {', '.join(_REQUIRED_KEYS)}"
    if reason:
        raise ModelError(
            f"{where} ({config.model_type}) {reason}", fix="choose an encoder such as ELECTRA, or a decoder"
        )


def _without_dropout(config: Any) -> None:
    # Dropout is off everywhere, as in our own encoder. The key-value cache is for generation only.
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


def _config_json(config: Any) -> str:
    values = {key: value for key, value in config.to_dict().items() if key not in _DROPPED_KEYS}
    return json.dumps(values, sort_keys=True)
