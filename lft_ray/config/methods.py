"""How a trial may train: the names of the methods and their settings, for the experiment tree. Nothing here trains.

full: every weight is trained on the labels. distill: so, and on the answers of an earlier trial (Hinton et al. 2015,
arXiv:1503.02531). freeze: embeddings and the first layers keep their weights. lora: low-rank factors beside each matrix
are trained, and merged into it at the end (Hu et al. 2021, arXiv:2106.09685). linear_probe: only the linear head.

A parameter that only some methods have is searched where one of them is proposed, and is None everywhere else.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from lft_ray.config.base import Range, Spec

__all__ = [
    "CONDITIONS",
    "DISTILL",
    "FREEZE",
    "FULL",
    "LINEAR_PROBE",
    "LORA",
    "Choice",
    "DecayRange",
    "Decays",
    "DistillSpec",
    "EarlyStoppingSpec",
    "LoraSpec",
    "Methods",
    "Numbers",
    "When",
    "Whole",
    "check_conditions",
    "condition",
]  # fmt: skip

MethodName = Literal["full", "distill", "freeze", "lora", "linear_probe"]
FULL: Literal["full"] = "full"
DISTILL: Literal["distill"] = "distill"
"""The method of a configuration that needs a teacher."""
FREEZE: Literal["freeze"] = "freeze"
LORA: Literal["lora"] = "lora"
LINEAR_PROBE: Literal["linear_probe"] = "linear_probe"

CONDITIONS: Mapping[str, frozenset[str]] = {
    "frozen_layers": frozenset({FREEZE}),
    "lora_rank": frozenset({LORA}),
    "lora_alpha": frozenset({LORA}),
    "layer_decay": frozenset({FULL, DISTILL, FREEZE, LORA}),
}
"""Field of a `TrialConfig` -> the methods that have it; fields that are not listed belong to all."""


class When(Spec):
    """Where a parameter is searched."""

    method: Annotated[list[MethodName], Field(min_length=1)]
    """With any of these methods."""


class Choice(Spec):
    """Values to search, perhaps with some methods only."""

    values: Annotated[list[PositiveFloat], Field(min_length=1)]
    when: When | None = None
    """Left out: with every method that has the parameter."""


class DecayRange(Range):
    """A range of factors to search, perhaps with some methods only."""

    log: bool = False
    when: When | None = None
    """Left out: with every method whose layers are trained."""


class DistillSpec(Spec):
    """How a distilled trial weighs what its teacher answers."""

    weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Share of the loss that compares with the teacher; the rest is the loss on the labels."""
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 2.0
    """Both answers are softened by it before they are compared."""


def _numbers(value: "Choice | list[int] | list[float] | float") -> list[float]:
    given = value.values if isinstance(value, Choice) else value if isinstance(value, list) else [value]
    return [float(number) for number in given]


def _whole(value: "Choice | list[int] | int") -> "Choice | list[int] | int":
    odd = [number for number in _numbers(value) if number != int(number)]
    if odd:
        raise ValueError(f"{odd[0]} is not a whole number")
    return value


def _factors(value: "DecayRange | Choice | list[float] | float") -> "DecayRange | Choice | list[float] | float":
    top = value.high if isinstance(value, DecayRange) else max(_numbers(value))
    if top > 1.0:
        raise ValueError(f"a factor of {top} is above 1: lower layers would learn faster")
    return value


Whole = Annotated[Choice | Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt, AfterValidator(_whole)]
"""One whole number, or several to search: a list, or {values: [...], when: {method: [...]}}."""
Numbers = Choice | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat
"""The same of any numbers above 0."""
Decays = Annotated[
    DecayRange | Choice | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_factors)
]
"""A factor up to 1, or several, or {low, high} to search."""


class LoraSpec(Spec):
    """Factors of low rank that are trained beside frozen matrices."""

    rank: Whole = 8
    """Columns of the first factor."""
    alpha: Numbers = 16
    """The product of the factors is scaled by alpha / rank."""
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Ends of the names of the matrices that get factors (qkv, out, up, down in our own encoder; another architecture
    has its own names). All linear layers when left out."""


class EarlyStoppingSpec(Spec):
    """When a trial ends itself because validation gains no more."""

    patience: PositiveInt = 2
    """Validation passes in a row without a gain; fewer than training.evaluations."""
    min_delta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """F1 above the best so far that counts as a gain; less does not."""


def condition(name: str, value: object) -> frozenset[str] | None:
    """The methods with which a searched field is set; None: with all.

    Args:
        name: field of a `TrialConfig`.
        value: what the file says of it.
    """
    when = getattr(value, "when", None)
    return CONDITIONS.get(name) if when is None else frozenset(when.method)


def check_conditions(named: Mapping[str, object]) -> None:
    """Refuse a condition on methods that do not have the parameter.

    A condition on methods that the file does not list is none: its parameter is not searched.

    Args:
        named: field of a `TrialConfig` -> what the file says of it.

    Raises:
        ValueError: naming the key, what it says and what may stand there.
    """
    for name, value in named.items():
        when = getattr(value, "when", None)
        if when is None:
            continue
        key = f"training.{name.replace('lora_', 'lora.')}.when.method"
        wrong = sorted(set(when.method) - CONDITIONS[name])
        if wrong:
            has = ", ".join(sorted(CONDITIONS[name]))
            raise ValueError(f"{key}: {', '.join(wrong)} has no {name}: expected some of {has}")


def _with_full(value: list[str]) -> list[str]:
    if DISTILL in value and FULL not in value:
        raise ValueError("distill needs a teacher, which is trained in full: write [full, distill]")
    return value


Methods = Annotated[list[MethodName], Field(min_length=1), AfterValidator(_with_full)]
"""The methods that a search may try."""
