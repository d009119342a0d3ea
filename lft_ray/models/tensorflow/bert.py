"""Translate a checkpoint of Google's BERT: the names of its variables, the layout of its matrices, its config.

In: the names in a checkpoint and ``bert_config.json``. Out: which variable becomes which weight of a Hugging Face BERT,
with the shape that the config requires, and what is left out and why. A name inside the network that is not BERT's is
an error: leaving it out would change what the network computes.

The output layer of the language model is the embedding table itself (tied weights), so nothing of it is lost.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lft_ray.errors import ModelError
from lft_ray.models.architecture import Architecture

__all__ = ["Plan", "Weight", "architecture", "plan"]

_ANCHOR = "embeddings/word_embeddings"
"""The variable by which the scope of the network is found: ``bert/`` in Google's checkpoints."""
_USUAL_SCOPE = "bert/"
_SLOT = re.compile(
    r"(?:^|/)(?:adam_[mv]|lamb_[mv]|Adam(?:_1)?|LAMB(?:_1)?|Momentum|vel|m|v|ExponentialMovingAverage|Adagrad|RMSProp(?:_1)?)$"
)
"""Ends of the names of what an optimizer keeps beside a variable."""
_OF_TRAINING = re.compile(
    r"^(?:global_step|beta[12]_power|loss_scale.*|current_loss_scale|good_steps|learning_rate|save_counter)$"
)
_HEADS = re.compile(r"^(?:cls/|output_weights$|output_bias$)")
_LAYER = re.compile(r"^encoder/layer_(\d+)/(.+)$")
_LINEAR = {"kernel": "weight", "bias": "bias"}
_NORM = {"gamma": "weight", "beta": "bias"}
_SHOWN = 5
"""Names listed in an error."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight of the network.

    Attributes:
        name: name of the variable in the checkpoint, without its scope.
        target: name in a Hugging Face BERT.
        shape: shape in the checkpoint.
        is_transposed: whether the checkpoint stores it as [in, out].
    """

    name: str
    target: str
    shape: tuple[int, ...]
    is_transposed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the variables of a checkpoint.

    Attributes:
        scope: scope of the network, such as ``bert/``.
        weights: weights to read.
        optimizer: variables of the optimizer and of training, which are left out.
        heads: variables of the heads of pre-training or of another task, which are left out.
        others: other variables outside the network, which are left out.
        has_pooler: whether the pooler is there.
    """

    scope: str
    weights: tuple[Weight, ...]
    optimizer: tuple[str, ...]
    heads: tuple[str, ...]
    others: tuple[str, ...]
    has_pooler: bool


def architecture(config: Mapping[str, Any], *, where: str) -> Architecture:
    """Read ``bert_config.json``.

    Raises:
        ModelError: a key is missing or invalid, or names another network.
    """
    named = config.get("model_type", "bert")
    if named != "bert":
        raise ModelError(f"{where} says model_type {named!r}: only checkpoints of BERT are imported")
    found = Architecture.from_config({**config, "model_type": "bert"}, where=where)
    counts = {key: config[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
    wrong = [f"{key} {value!r}" for key, value in counts.items() if not isinstance(value, int) or value < 1]
    if wrong:
        raise ModelError(f"{where} has {', '.join(wrong)}: expected whole numbers from 1")
    if found.hidden % found.heads:
        raise ModelError(f"{where}: hidden_size {found.hidden} is no multiple of num_attention_heads {found.heads}")
    return found


def plan(shapes: Mapping[str, tuple[int, ...]], net: Architecture, *, where: str) -> Plan:
    """Say which variables become weights, and check that they are all there in the shapes of the config.

    Args:
        shapes: name of a variable in the checkpoint -> its shape.
        net: architecture by ``bert_config.json``.
        where: name of the checkpoint, for error messages.

    Raises:
        ModelError: this is no BERT, or not the one of the config; the message names the variables.
    """
    own = [name for name in shapes if not _SLOT.search(name) and not _OF_TRAINING.match(name)]
    scope = _scope(own, where)
    inside = {name.removeprefix(scope) for name in own if name.startswith(scope) and not _HEADS.match(name)}
    expected = {weight.name: weight for weight in _weights(net)}
    pooler = {name for name in expected if name.startswith("pooler/")}
    missing = [name for name in expected if name not in inside and name not in pooler]
    if missing or (not pooler.isdisjoint(inside) and not pooler <= inside):
        missing = missing or sorted(pooler - inside)
        raise ModelError(
            f"{where} lacks {len(missing)} of the variables that its config requires: {_some(scope, missing)}"
            f"{_layers(inside, net)}",
            fix="use the bert_config.json of this checkpoint",
        )
    unknown = sorted(inside - set(expected))
    if unknown:
        raise ModelError(
            f"{where} has {len(unknown)} variables that BERT with this config does not have: {_some(scope, unknown)}"
            f"{_layers(inside, net)}",
            fix="use the bert_config.json of this checkpoint; other networks (ALBERT, ELECTRA) are not imported",
        )
    weights = tuple(weight for weight in expected.values() if weight.name in inside)
    _check_shapes(weights, {name: shapes[scope + name] for name in inside}, scope, where)
    outside = [name for name in own if name.removeprefix(scope) not in inside or not name.startswith(scope)]
    return Plan(
        scope=scope,
        weights=weights,
        optimizer=tuple(sorted(set(shapes) - set(own))),
        heads=tuple(sorted(name for name in outside if _HEADS.match(name))),
        others=tuple(sorted(name for name in outside if not _HEADS.match(name))),
        has_pooler=pooler <= inside,
    )


def _scope(names: Iterable[str], where: str) -> str:
    scopes = sorted(name.removesuffix(_ANCHOR) for name in names if name == _ANCHOR or name.endswith(f"/{_ANCHOR}"))
    if _USUAL_SCOPE in scopes:
        return _USUAL_SCOPE
    if len(scopes) == 1:
        return scopes[0]
    if scopes:
        raise ModelError(f"{where} has several networks: {', '.join(scope or '(no scope)' for scope in scopes)}")
    some = ", ".join(list(names)[:_SHOWN]) or "none"
    raise ModelError(
        f"{where} is no checkpoint of BERT: it has no variable {_USUAL_SCOPE}{_ANCHOR}; it has: {some}",
        fix="give the checkpoint of a BERT, such as bert_model.ckpt",
    )


def _weights(net: Architecture) -> list[Weight]:
    """All weights of a BERT, in the order of its layers."""
    h, i = net.hidden, net.intermediate
    tables = {"word": net.vocab, "position": net.positions, "token_type": net.token_types}
    found = [
        Weight(f"embeddings/{kind}_embeddings", f"embeddings.{kind}_embeddings.weight", (rows, h))
        for kind, rows in tables.items()
    ]
    found += _norm("embeddings/LayerNorm", h)
    for layer in range(net.layers):
        at = f"encoder/layer_{layer}"
        for part in ("query", "key", "value"):
            found += _linear(f"{at}/attention/self/{part}", h, h)
        found += _linear(f"{at}/attention/output/dense", h, h)
        found += _norm(f"{at}/attention/output/LayerNorm", h)
        found += _linear(f"{at}/intermediate/dense", h, i)
        found += _linear(f"{at}/output/dense", i, h)
        found += _norm(f"{at}/output/LayerNorm", h)
    return found + _linear("pooler/dense", h, h)


def _linear(name: str, inputs: int, outputs: int) -> list[Weight]:
    shapes = {"kernel": (inputs, outputs), "bias": (outputs,)}
    return [
        Weight(f"{name}/{kind}", f"{_target(name)}.{end}", shapes[kind], is_transposed=kind == "kernel")
        for kind, end in _LINEAR.items()
    ]


def _norm(name: str, size: int) -> list[Weight]:
    return [Weight(f"{name}/{kind}", f"{_target(name)}.{end}", (size,)) for kind, end in _NORM.items()]


def _target(name: str) -> str:
    return name.replace("encoder/layer_", "encoder/layer/").replace("/", ".")


def _check_shapes(weights: Iterable[Weight], shapes: Mapping[str, tuple[int, ...]], scope: str, where: str) -> None:
    wrong = [
        f"{scope}{weight.name} is {list(shapes[weight.name])}, not {list(weight.shape)}"
        for weight in weights
        if shapes[weight.name] != weight.shape
    ]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ModelError(
            f"{where} does not have the shapes that its config requires: {'; '.join(wrong[:_SHOWN])}{more}",
            fix="use the bert_config.json of this checkpoint",
        )


def _layers(inside: Iterable[str], net: Architecture) -> str:
    """How many layers the checkpoint has, where the config says another number."""
    numbers = {int(found[1]) for name in inside if (found := _LAYER.match(name))}
    has = max(numbers, default=-1) + 1
    return "" if has == net.layers else f"; it has {has} layers, and the config says {net.layers}"


def _some(scope: str, names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{scope}{name}" for name in names[:_SHOWN]) + more
