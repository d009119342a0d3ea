"""Architectures run by our own encoder, read from a base's ``config.json``: dimensions, parameter counts and FLOPs.

In: the parsed config. Out: a frozen `Architecture`. Never reads weights, never imports torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lft_ray.errors import ModelError, nearest

__all__ = ["FAMILIES", "LINEAR_LAYERS", "Architecture"]

LINEAR_LAYERS = ("qkv", "out", "up", "down")
"""Names of the weight matrices of a layer of our own encoder (`lft_ray.models.encoder`)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Dimensions of one transformer. All families share the same block; the flags set the order of its parts."""

    family: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    """Rows of the position table."""
    token_types: int = 0
    """Rows of the token-type table; 0 for families without one."""
    norm_eps: float = 1e-12
    activation: str = "gelu"
    """gelu (exact) or gelu_tanh."""
    pad_id: int = 0
    position_offset: int = 0
    """Position number of the first token (RoBERTa counts from pad_id + 1)."""
    causal: bool = False
    """True for decoders: pre-norm layers, a final norm, and causal attention."""

    @property
    def max_tokens(self) -> int:
        """Longest text, in tokens, that the position table allows."""
        return self.positions - self.position_offset

    @property
    def embedding_params(self) -> int:
        """Parameters of the token, position and type tables, and of the norm after them."""
        norm = 0 if self.causal else 2 * self.hidden
        return (self.vocab + self.positions + self.token_types) * self.hidden + norm

    @property
    def encoder_params(self) -> int:
        """Parameters of all layers (and of a decoder's final norm)."""
        h, i = self.hidden, self.intermediate
        attention = 4 * (h * h + h)
        feed_forward = h * i + i + i * h + h
        layer = attention + feed_forward + 4 * h
        return self.layers * layer + (2 * h if self.causal else 0)

    @property
    def params(self) -> int:
        """Parameters of the network without a head."""
        return self.embedding_params + self.encoder_params

    def flops_per_token(self, length: int) -> float:
        """Forward FLOPs per token in a text of ``length`` tokens: two per weight, plus the two attention products."""
        return 2.0 * self.encoder_params + 4.0 * self.layers * self.hidden * length

    def cut(self, layers: int) -> "Architecture":
        """Return the same network with only its first ``layers`` layers."""
        return replace(self, layers=layers)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> "Architecture":
        """Read a ``config.json``.

        Args:
            config: content of the file.
            where: name of the file or model, for error messages.

        Raises:
            ModelError: the family is not supported, the config requires running code, or a key is missing or invalid.
        """
        refuse_code(config, where=where)
        family = str(config.get("model_type", ""))
        if family not in FAMILIES:
            raise ModelError(
                f"model family {family or '(none)'!r} of {where} is not supported: expected one of "
                f"{', '.join(sorted(FAMILIES))}.{nearest(family, FAMILIES)}",
                fix="choose a base of one of these families, or a name of the ladder (lft env --models)",
            )
        try:
            return FAMILIES[family](config)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"config.json of {where} has a missing or invalid value: {error}") from error

    def to_config(self) -> dict[str, Any]:
        """Return the ``config.json`` of this network; ``from_config`` reads it back as an equal value."""
        return {name: getattr(self, source) for name, source in _CONFIG_KEYS[self.family].items()} | {
            "model_type": self.family,
            _ACTIVATION_KEY[self.family]: "gelu_new" if self.activation == "gelu_tanh" else "gelu",
        }


def refuse_code(config: Mapping[str, Any], *, where: str) -> None:
    """Reject a config that names Python code to be downloaded and run.

    Raises:
        ModelError: the config has ``auto_map`` or ``trust_remote_code``.
    """
    for key in ("auto_map", "trust_remote_code"):
        if config.get(key):
            raise ModelError(
                f"config.json of {where} has {key!r}: it requires code from the hub, which is never run",
                fix="choose a base whose network is built in",
            )


def _activation(name: str) -> str:
    # gelu_new, gelu_fast and gelu_pytorch_tanh are three spellings of the same tanh approximation.
    known = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
    if name not in known:
        raise ValueError(f"activation {name!r} (known: {', '.join(known)})")
    return known[name]


def _require_absolute_positions(config: Mapping[str, Any]) -> None:
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ValueError(f"position_embedding_type {kind!r} (known: absolute)")


def _bert(config: Mapping[str, Any]) -> Architecture:
    _require_absolute_positions(config)
    return Architecture(
        family="bert",
        vocab=int(config["vocab_size"]),
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        intermediate=int(config["intermediate_size"]),
        positions=int(config["max_position_embeddings"]),
        token_types=int(config.get("type_vocab_size", 2)),
        norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        activation=_activation(config.get("hidden_act", "gelu")),
        pad_id=int(config.get("pad_token_id") or 0),
    )


def _roberta(config: Mapping[str, Any]) -> Architecture:
    pad_id = int(config.get("pad_token_id", 1))
    return replace(_bert(config), family="roberta", pad_id=pad_id, position_offset=pad_id + 1)


def _distilbert(config: Mapping[str, Any]) -> Architecture:
    return Architecture(
        family="distilbert",
        vocab=int(config["vocab_size"]),
        hidden=int(config["dim"]),
        layers=int(config["n_layers"]),
        heads=int(config["n_heads"]),
        intermediate=int(config["hidden_dim"]),
        positions=int(config["max_position_embeddings"]),
        activation=_activation(config.get("activation", "gelu")),
        pad_id=int(config.get("pad_token_id") or 0),
    )


def _gpt2(config: Mapping[str, Any]) -> Architecture:
    if config.get("scale_attn_by_inverse_layer_idx") or not config.get("scale_attn_weights", True):
        raise ValueError("scale_attn_* (known: GPT-2's default scaling)")
    hidden, vocab = int(config["n_embd"]), int(config["vocab_size"])
    eos = config.get("eos_token_id")
    return Architecture(
        family="gpt2",
        vocab=vocab,
        hidden=hidden,
        layers=int(config["n_layer"]),
        heads=int(config["n_head"]),
        intermediate=int(config.get("n_inner") or 4 * hidden),
        positions=int(config["n_positions"]),
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=_activation(config.get("activation_function", "gelu_new")),
        # GPT-2 has no pad token. Its end-of-text id serves as padding; causal attention never lets a token see it.
        pad_id=int(vocab - 1 if eos is None else eos),
        causal=True,
    )


FAMILIES: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {
    "bert": _bert,
    "roberta": _roberta,
    # The same network as RoBERTa, trained on other texts; read as family roberta.
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
}
"""model_type of a ``config.json`` -> function that reads it."""

_BERT_KEYS = {
    "vocab_size": "vocab",
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate",
    "max_position_embeddings": "positions",
    "type_vocab_size": "token_types",
    "layer_norm_eps": "norm_eps",
    "pad_token_id": "pad_id",
}
_CONFIG_KEYS: dict[str, dict[str, str]] = {
    "bert": _BERT_KEYS,
    "roberta": _BERT_KEYS,
    "distilbert": {
        "vocab_size": "vocab",
        "dim": "hidden",
        "n_layers": "layers",
        "n_heads": "heads",
        "hidden_dim": "intermediate",
        "max_position_embeddings": "positions",
        "pad_token_id": "pad_id",
    },
    "gpt2": {
        "vocab_size": "vocab",
        "n_embd": "hidden",
        "n_layer": "layers",
        "n_head": "heads",
        "n_inner": "intermediate",
        "n_positions": "positions",
        "layer_norm_epsilon": "norm_eps",
        "eos_token_id": "pad_id",
    },
}
_ACTIVATION_KEY = {
    "bert": "hidden_act",
    "roberta": "hidden_act",
    "distilbert": "activation",
    "gpt2": "activation_function",
}
