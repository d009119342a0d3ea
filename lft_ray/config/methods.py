"""Training methods and their hyperparameters, as the experiment file names them.

full: all weights are trained on the labels. distill: like full, plus a loss on the predictions of an earlier trial
(Hinton et al. 2015, arXiv:1503.02531). freeze: the embeddings and the first layers are not trained. lora: low-rank
factors beside each weight matrix are trained and merged into it at the end (Hu et al. 2021, arXiv:2106.09685).
linear_probe: only the linear head is trained.

In: values of ``training.*``. Out: validated specs. A hyperparameter that only some methods have is searched only for
those methods, and is None for all others. Never trains.
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
    "ClassWeights",
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

ClassWeighting = Literal["none", "balanced"]
ClassWeights = Annotated[list[ClassWeighting], Field(min_length=1)] | ClassWeighting
"""One weighting of the labels, or several to search."""
MethodName = Literal["full", "distill", "freeze", "lora", "linear_probe"]
FULL: Literal["full"] = "full"
DISTILL: Literal["distill"] = "distill"
"""The only method that needs a teacher."""
FREEZE: Literal["freeze"] = "freeze"
LORA: Literal["lora"] = "lora"
LINEAR_PROBE: Literal["linear_probe"] = "linear_probe"

CONDITIONS: Mapping[str, frozenset[str]] = {
    "frozen_layers": frozenset({FREEZE}),
    "lora_rank": frozenset({LORA}),
    "lora_alpha": frozenset({LORA}),
    "layer_decay": frozenset({FULL, DISTILL, FREEZE, LORA}),
}
"""Field of a `TrialConfig` -> methods that have it; a field that is not listed applies to all methods."""


class When(Spec):
    """Condition under which a hyperparameter is searched."""

    method: Annotated[list[MethodName], Field(min_length=1)]
    """Methods for which the hyperparameter is searched."""


class Choice(Spec):
    """A list of values to search, optionally for some methods only."""

    values: Annotated[list[PositiveFloat], Field(min_length=1)]
    """Values to choose from."""
    when: When | None = None
    """null: for every method that has the hyperparameter."""


class DecayRange(Range):
    """A range of factors to search, optionally for some methods only."""

    log: bool = False
    """Sample on a logarithmic scale."""
    when: When | None = None
    """null: for every method that trains encoder layers."""


class DistillSpec(Spec):
    """How a distilled trial weighs the predictions of its teacher."""

    weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Weight of the distillation loss; the loss on the labels has weight 1 - weight."""
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 2.0
    """Softmax temperature that divides the logits of teacher and student before they are compared."""


def _numbers(value: "Choice | list[int] | list[float] | float") -> list[float]:
    given = value.values if isinstance(value, Choice) else value if isinstance(value, list) else [value]
    return [float(number) for number in given]


def _whole(value: "Choice | list[int] | int") -> "Choice | list[int] | int":
    fractional = [number for number in _numbers(value) if number != int(number)]
    if fractional:
        raise ValueError(f"{fractional[0]} is not a whole number")
    return value


def _factors(value: "DecayRange | Choice | list[float] | float") -> "DecayRange | Choice | list[float] | float":
    top = value.high if isinstance(value, DecayRange) else max(_numbers(value))
    if top > 1.0:
        raise ValueError(f"a factor of {top} is above 1: lower layers would learn faster")
    return value


Whole = Annotated[Choice | Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt, AfterValidator(_whole)]
"""One whole number, or several to search: a list, or {values: [...], when: {method: [...]}}."""
Numbers = Choice | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat
"""One number above 0, or several to search: a list, or {values: [...], when: {method: [...]}}."""
Decays = Annotated[
    DecayRange | Choice | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_factors)
]
"""One factor of at most 1, or several to search: a list, {low, high}, or {values: [...], when: {method: [...]}}."""


class LoraSpec(Spec):
    """LoRA: low-rank factors that are trained beside frozen weight matrices."""

    rank: Whole = 8
    """Rank of the factors."""
    alpha: Numbers = 16
    """The product of the factors is scaled by alpha / rank."""
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Suffixes of the names of the linear layers that get factors (qkv, out, up, down in the built-in encoder; other
    architectures have their own names). null: all linear layers."""


class EarlyStoppingSpec(Spec):
    """Early stopping: when a trial ends because validation F1 no longer improves."""

    patience: PositiveInt = 2
    """Consecutive validation passes without improvement before the trial stops; less than training.evaluations."""
    min_delta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Smallest improvement over the best F1 so far that counts."""


def condition(name: str, value: object) -> frozenset[str] | None:
    """Return the methods for which a searched field is set, or None for all methods.

    Args:
        name: field of a `TrialConfig`.
        value: its value in the experiment file.
    """
    when = getattr(value, "when", None)
    return CONDITIONS.get(name) if when is None else frozenset(when.method)


def check_conditions(named: Mapping[str, object]) -> None:
    """Refuse a condition on methods that do not have the hyperparameter.

    A condition on methods that ``training.method`` does not list is allowed: the hyperparameter is not searched.

    Args:
        named: field of a `TrialConfig` -> its value in the experiment file.

    Raises:
        ValueError: naming the key, its value and the allowed values.
    """
    for name, value in named.items():
        when = getattr(value, "when", None)
        if when is None:
            continue
        key = f"training.{name.replace('lora_', 'lora.')}.when.method"
        wrong = sorted(set(when.method) - CONDITIONS[name])
        if wrong:
            allowed = ", ".join(sorted(CONDITIONS[name]))
            raise ValueError(f"{key}: {', '.join(wrong)} has no {name}: expected some of {allowed}")


def _with_full(value: list[str]) -> list[str]:
    if DISTILL in value and FULL not in value:
        raise ValueError("distill needs a teacher, which is trained with method full: write [full, distill]")
    return value


Methods = Annotated[list[MethodName], Field(min_length=1), AfterValidator(_with_full)]
"""Training methods to search."""
