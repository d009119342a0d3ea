"""Model sizes: the candidates of a study, base model x number of layers, with parameters, FLOPs and default rate.

In: `ModelSpec`s of an experiment. Out: `ModelSize`, cheapest first. Never reads weights, never imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError, nearest
from lft_ray.models.floors import FLOORS
from lft_ray.models.ladder import BASE_RATES, LADDER, SMALL_RATES

if TYPE_CHECKING:
    from lft_ray.models.hf.architecture import Shape

__all__ = ["NOMINAL_TOKENS", "ModelSize", "check_lengths", "find_size", "model_sizes"]

NOMINAL_TOKENS = 128
"""Text length in tokens at which ``flops_per_token`` is stated: the default of training.max_length."""
_TFIDF_FLOPS_PER_TOKEN = 100.0
"""A word gives two n-grams, each with one weight per label (a few to dozens); only the order of magnitude matters."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """One candidate: a network with a number of layers, or the linear model."""

    name: str
    """``base:layers``, such as ``minilm:3``, or ``tfidf``."""
    base: str
    family: str
    layers: int | None
    params: int
    """Parameters of the network without a head; 0 where the number depends on the data."""
    encoder_params: int
    """Parameters without the embedding tables, which cost no FLOPs."""
    flops_per_token: float
    """Forward FLOPs per token in a text of `NOMINAL_TOKENS` tokens."""
    default_learning_rate: float | None
    hidden: int
    max_tokens: int | None
    """Longest text, in tokens, that the position table allows; None: no limit."""
    pooling: str
    licence: str

    @property
    def is_linear(self) -> bool:
        """Whether this is a model over words, without a network: no learning rate, epochs and tokeniser."""
        return self.family in FLOORS

    def flops_per_text(self, tokens: int) -> float:
        """Forward FLOPs of one text of ``tokens`` tokens."""
        if self.is_linear:
            return self.flops_per_token * tokens
        attention = 4.0 * (self.layers or 0) * self.hidden * tokens
        return (2.0 * self.encoder_params + attention) * tokens


def model_sizes(models: Sequence[ModelSpec]) -> list[ModelSize]:
    """Expand the models of an experiment to sizes, fewest parameters first.

    Raises:
        ModelError: a base is unknown or unusable, has fewer layers than requested, or a size is listed twice with
            different revisions.
    """
    sizes: dict[str, ModelSize] = {}
    origins: dict[str, ModelSpec] = {}
    for spec in models:
        for size in _sizes_of(spec):
            known = origins.setdefault(size.name, spec)
            if (known.revision, known.allow_bin) != (spec.revision, spec.allow_bin):
                raise ModelError(
                    f"model size {size.name!r} is listed twice with different revision or allow_bin",
                    fix=f"leave one entry of {spec.base!r} under models",
                )
            sizes[size.name] = size
    return sorted(sizes.values(), key=lambda size: (size.params, size.flops_per_token, size.name))


def find_size(models: Sequence[ModelSpec], name: str) -> tuple[ModelSpec, ModelSize]:
    """Return the model entry and the size of a name such as ``minilm:3``.

    Raises:
        ModelError: no model in the list has this size.
    """
    sizes = {size.name: size for size in model_sizes(models)}
    if name not in sizes:
        raise ModelError(
            f"unknown model size {name!r}: expected one of {', '.join(sorted(sizes))}.{nearest(name, sizes)}"
        )
    size = sizes[name]
    return next(spec for spec in models if spec.base == size.base), size


def check_lengths(sizes: Sequence[ModelSize], max_length: int) -> None:
    """Reject a text length that exceeds the position table of a network.

    Raises:
        ModelError: some sizes are too short; the message names each with its limit.
    """
    short = [f"{size.name} ({size.max_tokens})" for size in sizes if size.max_tokens and size.max_tokens < max_length]
    if short:
        limit = min(size.max_tokens for size in sizes if size.max_tokens)
        raise ModelError(
            f"training.max_length is {max_length}, but these models read fewer tokens: {', '.join(short)}",
            fix=f"--set training.max_length={limit}, or leave those models out",
        )


def _sizes_of(spec: ModelSpec) -> list[ModelSize]:
    entry = LADDER.get(spec.base)
    shape = entry.shape() if entry is not None else None
    if entry is not None and shape is None:
        if spec.layers is not None:
            raise ModelError(
                f"{spec.base!r} has no layers to select", fix=f"write {{base: {spec.base}}} without layers"
            )
        return [_linear(spec.base, entry.family)]
    if entry is not None and shape is not None:
        return _cuts(spec, shape, entry.pooling, entry.licence, entry.learning_rates)
    # Only a base outside the ladder needs its files; the import is local because it needs the hub client.
    from lft_ray.models.resolve import read_architecture

    architecture = read_architecture(spec)
    rates = BASE_RATES if architecture.hidden >= 768 else SMALL_RATES
    return _cuts(spec, architecture, "last" if architecture.causal else "mean", "", rates)


def _linear(name: str, family: str) -> ModelSize:
    return ModelSize(
        name=name,
        base=name,
        family=family,
        layers=None,
        params=0,
        encoder_params=0,
        flops_per_token=_TFIDF_FLOPS_PER_TOKEN,
        default_learning_rate=None,
        hidden=0,
        max_tokens=None,
        pooling="",
        licence="",
    )


def _cuts(
    spec: ModelSpec,
    whole: "Shape",
    pooling: str,
    licence: str,
    rates: tuple[tuple[int, float], ...],
) -> list[ModelSize]:
    depths = sorted(set(spec.layers or [whole.layers]))
    if depths[-1] > whole.layers:
        raise ModelError(
            f"{spec.base!r} has {whole.layers} layers, but layers lists {depths[-1]}",
            fix=f"use numbers from 1 to {whole.layers}",
        )
    sizes = []
    for depth in depths:
        cut = whole.cut(depth)
        sizes.append(
            ModelSize(
                name=f"{spec.base}:{depth}",
                base=spec.base,
                family=cut.family,
                layers=depth,
                params=cut.params,
                encoder_params=cut.encoder_params,
                flops_per_token=cut.flops_per_token(NOMINAL_TOKENS),
                default_learning_rate=next(rate for limit, rate in rates if depth <= limit),
                hidden=cut.hidden,
                max_tokens=cut.max_tokens,
                pooling=pooling,
                licence=licence,
            )
        )
    return sizes
