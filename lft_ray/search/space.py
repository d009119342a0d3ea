"""The search space and the start table. In: training config, model sizes. Out: `SearchSpace`, default configurations.

A `Dimension` is one searched hyperparameter; a field with a single value is a constant and is not sampled. TF-IDF is
not in the space: it is trained once, as a start trial. The start table has one default configuration per model size.

A conditional hyperparameter, which only some methods have (`lft_ray.config.methods.CONDITIONS`, narrowed by ``when``),
is None in all other configurations, so that no two configurations differ only in a value without effect. Samplers that
need a fixed space (Optuna's GP) see its middle value there; the known-cost sampler sees no value.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Protocol

from lft_ray.config import Range, TrainingSpec
from lft_ray.config.methods import CONDITIONS, DISTILL, FREEZE, FULL, LINEAR_PROBE, LORA, Choice, condition
from lft_ray.errors import ConfigError
from lft_ray.records import TrialConfig

__all__ = [
    "Dimension", "SearchSpace", "Size", "build_space", "default_rate", "possible_methods", "rounded",
    "start_table",
]  # fmt: skip

RATE_DIGITS = 3
"""Significant digits of a sampled value: 2.31e-4 is readable, and no rates differ only in the last bit of a float."""
_INTEGER_FIELDS = {"frozen_layers", "lora_rank"}
RATE_OF_METHOD = {LORA: 10.0, LINEAR_PROBE: 10.0}
"""Factor on a size's default learning rate in its start trial: the best rate of MiniLM's 6 layers on AG News was 1e-4
for full fine-tuning and 2e-3 for LoRA of rank 8; a linear head has no pretrained weights to damage. A choice: the
search moves on from there."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched field of `TrialConfig`: ordered values, unordered values, or a range.

    Ordered values are sampled by position: sizes are sorted by cost, so neighbours are similar. Compared with unordered
    categories, the GP's regret after 30 trials was the same within noise (0.033 and 0.027, 8 simulated tasks), with
    half the spread between tasks.
    """

    field: str
    values: tuple[Any, ...] = ()
    range: Range | None = None
    is_ordered: bool = True
    """False: the values are sampled as unordered categories (methods)."""

    @property
    def middle(self) -> Any:
        """The middle value: default of start trials, and placeholder where the method does not have this field."""
        if self.range is None:
            return self.values[(len(self.values) - 1) // 2]
        low, high = self.range.low, self.range.high
        return rounded(math.sqrt(low * high) if self.range.log else (low + high) / 2)

    def distribution(self) -> Any:
        """The Optuna distribution of the values that `encode` returns."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.range is not None:
            return FloatDistribution(self.range.low, self.range.high, log=self.range.log)
        if not self.is_ordered:
            return CategoricalDistribution(self.values)
        return IntDistribution(0, len(self.values) - 1)

    def contains(self, value: Any) -> bool:
        """Whether the value lies in this dimension."""
        if self.range is not None:
            return isinstance(value, float) and self.range.low <= value <= self.range.high
        return value in self.values

    def encode(self, value: Any) -> Any:
        """Convert a field value to a sampled value: a float, a position, or an unordered value itself."""
        if self.range is not None:
            return float(value)
        return self.values.index(value) if self.is_ordered else value

    def decode(self, sampled: Any) -> Any:
        """Convert a sampled value to a field value."""
        if self.range is None:
            return self.values[int(sampled)] if self.is_ordered else sampled
        return min(max(rounded(float(sampled)), self.range.low), self.range.high)

    def draw(self, rng: random.Random) -> Any:
        """Draw a field value uniformly (log-uniformly if the range is logarithmic)."""
        if self.range is None:
            return rng.choice(self.values)
        low, high = self.range.low, self.range.high
        if self.range.log:
            return self.decode(math.exp(rng.uniform(math.log(low), math.log(high))))
        return self.decode(rng.uniform(low, high))


def rounded(rate: float) -> float:
    """Round a value of a range to `RATE_DIGITS` significant digits."""
    return float(f"{rate:.{RATE_DIGITS}g}")


class Size(Protocol):
    """The part of a model size that the search needs; `lft_ray.models.sizes.ModelSize` implements it."""

    @property
    def name(self) -> str:
        """Name, as ``base:layers``."""

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear model: no learning rate, batch size or epochs."""

    @property
    def default_learning_rate(self) -> float | None:
        """A learning rate that is known to work; None: the middle of the range is used."""

    @property
    def layers(self) -> int | None:
        """Number of encoder layers."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Searched dimensions, and the fields with the same value in all trials.

    Attributes:
        dimensions: searched fields.
        constants: fields with a single value wherever they are set.
        conditions: field -> methods for which the field is set; fields not listed are always set.
        methods: model size -> methods that can train it; sizes without any method are absent.
        frozen_layers: model size -> allowed numbers of frozen layers, ascending.
    """

    dimensions: tuple[Dimension, ...]
    constants: dict[str, Any]
    conditions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frozen_layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is no network to search (TF-IDF is the only candidate)."""
        return "model_size" not in self.constants and all(d.field != "model_size" for d in self.dimensions)

    @property
    def count(self) -> int | None:
        """Number of distinct configurations; None: the space is continuous."""
        if self.is_empty:
            return 0
        total = 0
        for size, method in ((size, method) for size, methods in self.methods.items() for method in methods):
            active = [d for d in self.dimensions if self._is_set(d.field, method)]
            if any(d.range is not None for d in active):
                return None
            counts = {d.field: len(d.values) for d in active if d.field not in {"model_size", "method"}}
            if "frozen_layers" in counts:
                counts["frozen_layers"] = len(self.frozen_layers[size])
            total += math.prod(counts.values())
        return total

    def distributions(self) -> dict[str, Any]:
        """Optuna distributions by field name; the teacher of a distilled trial is not sampled."""
        return {d.field: d.distribution() for d in self.dimensions}

    def encode(self, config: TrialConfig, *, fills: bool = True) -> dict[str, Any] | None:
        """Sampled values of a configuration; None if it lies outside the space (TF-IDF, a value since removed).

        Args:
            config: configuration of a trial.
            fills: whether a field that the method does not have gets its middle value; otherwise it is left out.
        """
        for name, value in self.constants.items():
            if getattr(config, name) != (value if self._is_set(name, config.method) else None):
                return None
        sampled = {}
        for dimension in self.dimensions:
            value = getattr(config, dimension.field)
            if not self._is_set(dimension.field, config.method):
                if value is not None:
                    return None
                if fills:
                    sampled[dimension.field] = dimension.encode(dimension.middle)
            elif not dimension.contains(value):
                return None
            else:
                sampled[dimension.field] = dimension.encode(value)
        return sampled

    def decode(self, sampled: dict[str, Any]) -> TrialConfig:
        """The configuration for sampled values; dimensions without a value take their middle."""
        return self.config({d.field: d.decode(sampled[d.field]) for d in self.dimensions if d.field in sampled})

    def draw(self, rng: random.Random) -> TrialConfig:
        """Draw a configuration uniformly over the values of each dimension."""
        return self.config({d.field: d.draw(rng) for d in self.dimensions})

    def all(self) -> list[TrialConfig]:
        """Every distinct configuration of a space without ranges, in order."""
        fields = [d.field for d in self.dimensions]
        combinations = product(*(d.values for d in self.dimensions))
        return list(dict.fromkeys(self.config(dict(zip(fields, c, strict=True))) for c in combinations))

    def config(self, chosen: Mapping[str, Any]) -> TrialConfig:
        """A valid configuration with these values.

        A method that cannot train the size (freeze, if no allowed number leaves a trainable layer) is replaced by the
        size's first method; too many frozen layers are lowered to the largest allowed number; fields that the method
        does not have become None.

        Args:
            chosen: field -> value; dimensions that are absent take their middle.
        """
        fields = self.constants | {d.field: chosen.get(d.field, d.middle) for d in self.dimensions}
        size, method = fields["model_size"], fields["method"]
        if method not in self.methods[size]:
            method = fields["method"] = self.methods[size][0]
        for name in self.conditions:
            if not self._is_set(name, method):
                fields[name] = None
        if method == FREEZE:
            allowed = self.frozen_layers[size]
            fields["frozen_layers"] = max((k for k in allowed if k <= fields["frozen_layers"]), default=allowed[0])
        return TrialConfig(**fields)

    def _is_set(self, name: str, method: str) -> bool:
        return name not in self.conditions or method in self.conditions[name]


def build_space(sizes: Sequence[Size], training: TrainingSpec, *, seed: int = 0) -> SearchSpace:
    """Build the search space over all networks among ``sizes``.

    Args:
        sizes: candidates, cheapest to serve first; linear models and sizes that no method can train are left out.
        training: lists and ranges are searched, single values are fixed.
        seed: random seed of the training runs.
    """
    constants: dict[str, Any] = {"max_length": training.max_length, "seed": seed}
    dimensions: list[Dimension] = []
    methods = {size.name: found for size in sizes if not size.is_linear and (found := possible_methods(size, training))}
    if not methods:
        return SearchSpace((), constants)
    choices = _choices(list(methods), training)
    for name, choice in choices.items():
        if isinstance(choice, Range):
            dimensions.append(Dimension(name, range=choice))
            continue
        values = _values(name, choice)
        # Model sizes stay sorted by cost and methods have no order; numbers are sorted, so that positions are ordinal.
        values = list(dict.fromkeys(values if isinstance(values[0], str) else sorted(values)))
        if len(values) == 1:
            constants[name] = values[0]
        else:
            dimensions.append(Dimension(name, tuple(values), is_ordered=name not in {"method", "class_weights"}))
    set_with = {name: those for name, choice in choices.items() if (those := condition(name, choice)) is not None}
    frozen = {size.name: tuple(_frozen(size, training)) for size in sizes if FREEZE in methods.get(size.name, ())}
    return SearchSpace(tuple(dimensions), constants, set_with, methods, frozen)


def possible_methods(size: Size, training: TrainingSpec) -> tuple[str, ...]:
    """The configured methods that can train a network of this size; the first is that of the start trial."""
    found = [method for method in training.method if method != FREEZE or _frozen(size, training)]
    # Full first, distill last: a start trial uses the first method, and a distilled one needs a finished teacher.
    return tuple(sorted(found, key=lambda method: (method != FULL, method == DISTILL)))


def default_rate(size: Size, method: str) -> float | None:
    """Default learning rate of a model size with this method; None: unknown."""
    rate = size.default_learning_rate
    return None if rate is None else rounded(rate * RATE_OF_METHOD.get(method, 1.0))


def start_table(sizes: Sequence[Size], training: TrainingSpec, *, seed: int = 0) -> list[TrialConfig]:
    """One configuration per size, cheapest first, with default learning rate and middle values; run before proposals.

    Args:
        sizes: candidates, cheapest to serve first.
        training: bounds of the learning rate; methods, batch sizes and epochs.
        seed: random seed of the training runs.

    Raises:
        ConfigError: there is no model size.
    """
    if not sizes:
        raise ConfigError(
            "no model size is left to search", fix="raise selection.max_usd_per_million or cost.traffic.p95_ms"
        )
    linear = [TrialConfig(model_size=s.name, max_length=training.max_length, seed=seed) for s in sizes if s.is_linear]
    space = build_space(sizes, training, seed=seed)
    networks = []
    for size in sizes:
        if size.name in space.methods:
            method = space.methods[size.name][0]
            rate = _nearest_rate(default_rate(size, method), training.learning_rate)
            networks.append(space.config({"model_size": size.name, "method": method, "learning_rate": rate}))
    return linear + networks


def _choices(names: list[str], training: TrainingSpec) -> dict[str, Any]:
    """The configured choice for each field that at least one listed method has."""
    choices: dict[str, Any] = {
        "model_size": names,
        "method": list(training.method),
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "frozen_layers": training.frozen_layers,
        "lora_rank": training.lora.rank,
        "lora_alpha": training.lora.alpha,
        "layer_decay": training.layer_decay,
        "class_weights": training.class_weights,
    }
    if len(set(_values("class_weights", training.class_weights))) == 1:
        del choices["class_weights"]  # the same for all trials: `TrialJob.trained` reads it from the section
    if training.layer_decay == 1.0:
        del choices["layer_decay"]
    listed = set(training.method)
    return {name: choice for name, choice in choices.items() if listed & CONDITIONS.get(name, listed)}


def _values(name: str, choice: Any) -> list[Any]:
    values = choice.values if isinstance(choice, Choice) else choice if isinstance(choice, list) else [choice]
    return [int(value) for value in values] if name in _INTEGER_FIELDS else list(values)


def _frozen(size: Size, training: TrainingSpec) -> list[int]:
    """Numbers of frozen layers that leave at least one trainable layer, ascending."""
    return sorted({k for k in _values("frozen_layers", training.frozen_layers) if k < (size.layers or 0)})


def _nearest_rate(default: float | None, allowed: Range | list[float] | float) -> float:
    if isinstance(allowed, Range):
        middle = math.sqrt(allowed.low * allowed.high) if allowed.log else (allowed.low + allowed.high) / 2
        return min(max(rounded(default or middle), allowed.low), allowed.high)
    if isinstance(allowed, list):
        rates = sorted(allowed)
        if default is None:
            return rates[(len(rates) - 1) // 2]
        return min(rates, key=lambda rate: abs(math.log(rate / default)))
    return allowed
