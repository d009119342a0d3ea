"""What is searched, and what is tried first. In: training part, model sizes. Out: `SearchSpace`, start table.

A dimension with one value is a constant and is not sampled. TF-IDF is not in the space: it is a start trial.

A parameter of some methods only (`lft_ray.config.methods.CONDITIONS`, narrowed by ``when``) is None in every other
configuration, so that no two differ in what has no effect. Samplers that need a fixed space (Optuna's GP) are told the
parameter's middle value there; ours is told nothing.
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

# Learning rates are rounded to this many digits: 2.31e-4 reads well, and no rate differs by the last bit of a float.
RATE_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched field of `TrialConfig`: ordered values, unordered ones, or a range.

    Ordered values are sampled by their position: sizes stand cheapest first, so neighbours are alike. Against unordered
    categories the GP's regret after 30 trials was the same within noise (0.033 and 0.027, 8 simulated tasks) at half
    the spread between tasks.
    """

    field: str
    values: tuple[Any, ...] = ()
    range: Range | None = None
    is_ordered: bool = True
    """False: the values are sampled as they are, without an order (methods)."""

    @property
    def middle(self) -> Any:
        """The value that stands in where the method has none, and that a start trial takes."""
        if self.range is None:
            return self.values[(len(self.values) - 1) // 2]
        low, high = self.range.low, self.range.high
        return rounded(math.sqrt(low * high) if self.range.log else (low + high) / 2)

    def distribution(self) -> Any:
        """The Optuna distribution of what `encode` returns."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.range is not None:
            return FloatDistribution(self.range.low, self.range.high, log=self.range.log)
        if not self.is_ordered:
            return CategoricalDistribution(self.values)
        return IntDistribution(0, len(self.values) - 1)

    def contains(self, value: Any) -> bool:
        """Whether a trial with this value belongs to the space."""
        if self.range is not None:
            return isinstance(value, float) and self.range.low <= value <= self.range.high
        return value in self.values

    def encode(self, value: Any) -> Any:
        """Field value to sampled value: a float, a position, or an unordered value itself."""
        if self.range is not None:
            return float(value)
        return self.values.index(value) if self.is_ordered else value

    def decode(self, sampled: Any) -> Any:
        """Sampled value to field value."""
        if self.range is None:
            return self.values[int(sampled)] if self.is_ordered else sampled
        return min(max(rounded(float(sampled)), self.range.low), self.range.high)

    def draw(self, rng: random.Random) -> Any:
        """A field value, uniformly (in the logarithm where the range says so)."""
        if self.range is None:
            return rng.choice(self.values)
        low, high = self.range.low, self.range.high
        if self.range.log:
            return self.decode(math.exp(rng.uniform(math.log(low), math.log(high))))
        return self.decode(rng.uniform(low, high))


def rounded(rate: float) -> float:
    """A number of a range, in a few digits."""
    return float(f"{rate:.{RATE_DIGITS}g}")


_WHOLE = {"frozen_layers", "lora_rank"}
RATE_OF_METHOD = {LORA: 10.0, LINEAR_PROBE: 10.0}
"""Times the size's default learning rate, where a search begins: the best of MiniLM's 6 layers on AG News was 1e-4 in
full and 2e-3 for rank 8; a head alone has nothing to unlearn. A choice: the search goes on from there."""


class Size(Protocol):
    """What the search needs to know of a model size (`lft_ray.models.sizes.ModelSize` has it)."""

    @property
    def name(self) -> str:
        """``base:layers``."""

    @property
    def is_linear(self) -> bool:
        """No learning rate, batches or epochs."""

    @property
    def default_learning_rate(self) -> float | None:
        """A rate that is known to work; None: the middle of the range."""

    @property
    def layers(self) -> int | None:
        """Layers that it keeps."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Searched dimensions, and the fields that are the same for all trials.

    Attributes:
        dimensions: searched fields.
        constants: fields that have one value wherever they have any.
        conditions: field -> methods with which it is set; fields that are not listed always are.
        methods: model size -> methods that it can be trained with, none of them without one.
        frozen_layers: model size -> numbers of layers that may be frozen, ascending.
    """

    dimensions: tuple[Dimension, ...]
    constants: dict[str, Any]
    conditions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frozen_layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is no network to search over (only TF-IDF is a candidate)."""
        return "model_size" not in self.constants and all(d.field != "model_size" for d in self.dimensions)

    @property
    def count(self) -> int | None:
        """Number of different configurations; None: a continuum."""
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
        """Sampled values of a configuration; None when it is not of this space (TF-IDF, a value since removed).

        Args:
            config: of a trial.
            fills: give a parameter that the method does not have its middle value; else leave it out.
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
        """The configuration behind sampled values; what was not sampled takes the middle."""
        return self.config({d.field: d.decode(sampled[d.field]) for d in self.dimensions if d.field in sampled})

    def draw(self, rng: random.Random) -> TrialConfig:
        """A configuration, uniformly over the values of each dimension."""
        return self.config({d.field: d.draw(rng) for d in self.dimensions})

    def all(self) -> list[TrialConfig]:
        """Every configuration of a space without a range, once, in order."""
        fields = [d.field for d in self.dimensions]
        combinations = product(*(d.values for d in self.dimensions))
        return list(dict.fromkeys(self.config(dict(zip(fields, c, strict=True))) for c in combinations))

    def config(self, chosen: Mapping[str, Any]) -> TrialConfig:
        """The configuration with these values, as it can be run.

        A method that the size cannot have (frozen, where every number leaves nothing to train) becomes its first; a
        number of frozen layers that is too great for the size becomes the greatest that is not; a parameter that the
        method does not have becomes None.

        Args:
            chosen: field -> value; dimensions that are left out take their middle.
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
    """Make the space of all networks among ``sizes``.

    Args:
        sizes: candidates, cheapest to serve first; linear models are left out, and so is what no method can train.
        training: lists and ranges are searched, single values are fixed.
        seed: of the training runs.
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
        # Model sizes keep their order, methods have none; numbers are sorted, so that position means size.
        values = list(dict.fromkeys(values if isinstance(values[0], str) else sorted(values)))
        if len(values) == 1:
            constants[name] = values[0]
        else:
            dimensions.append(Dimension(name, tuple(values), is_ordered=name != "method"))
    set_with = {name: those for name, choice in choices.items() if (those := condition(name, choice)) is not None}
    frozen = {size.name: tuple(_frozen(size, training)) for size in sizes if FREEZE in methods.get(size.name, ())}
    return SearchSpace(tuple(dimensions), constants, set_with, methods, frozen)


def possible_methods(size: Size, training: TrainingSpec) -> tuple[str, ...]:
    """The methods of the file that can train a network of this size, that of its start trial first."""
    found = [method for method in training.method if method != FREEZE or _frozen(size, training)]
    # What a distilled trial learns from must be there first.
    return tuple(sorted(found, key=lambda method: (method != FULL, method == DISTILL)))


def default_rate(size: Size, method: str) -> float | None:
    """A learning rate to begin with; None: nothing is known."""
    rate = size.default_learning_rate
    return None if rate is None else rounded(rate * RATE_OF_METHOD.get(method, 1.0))


def start_table(sizes: Sequence[Size], training: TrainingSpec, *, seed: int = 0) -> list[TrialConfig]:
    """One trial per size, cheapest first, with its default learning rate and middle values: tried before any proposal.

    Args:
        sizes: candidates, cheapest to serve first.
        training: bounds the learning rate; gives methods, batch sizes and epochs.
        seed: of the training runs.

    Raises:
        ConfigError: there is no size.
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
    """What the file says of each field that some trial may have."""
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
    }
    if training.layer_decay == 1.0:
        del choices["layer_decay"]
    listed = set(training.method)
    return {name: choice for name, choice in choices.items() if listed & CONDITIONS.get(name, listed)}


def _values(name: str, choice: Any) -> list[Any]:
    values = choice.values if isinstance(choice, Choice) else choice if isinstance(choice, list) else [choice]
    return [int(value) for value in values] if name in _WHOLE else list(values)


def _frozen(size: Size, training: TrainingSpec) -> list[int]:
    """Numbers of layers that leave one of the size's to be trained, ascending."""
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
