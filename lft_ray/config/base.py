"""Building blocks of the experiment schema: the base model, validated names, and search ranges.

In: plain values from the experiment file. Out: validated values, or a ValueError. Never reads a file.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lft_ray.errors import nearest

__all__ = [
    "SCHEDULERS", "Dollars", "LearningRates", "Range", "RunName", "SchedulerName", "Score", "Seed", "Share", "Spec",
    "check_names",
]  # fmt: skip

_RUN_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")

SCHEDULERS: dict[str, str] = {
    "fifo": "lft_ray.search.stopping.base:never",
    "dominance": "lft_ray.search.stopping.dominance:dominance",
    "mo_asha": "lft_ray.search.stopping.asha:mo_asha",
}
"""Name -> callable ``(seed) -> lft_ray.search.stopping.base.StopRule``, called at each point of a learning curve.

Defined here and not in the search, because ``search.scheduler`` is validated against it before any money is spent.
"""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A fraction from 0 up to, but excluding, 1."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that every random generator takes."""

Score = Annotated[float, Field(ge=-1.0, le=1.0)]
"""A score as a fraction; a metric that measures a correlation may be negative. NaN is refused."""

Dollars = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
"""Dollars: neither negative nor infinite."""


class Spec(BaseModel):
    """Base of all sections: frozen; unknown keys are errors."""

    # An infinite limit or price is no number to compute with: "no limit" is null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic takes true for 1, and YAML reads `yes` and `on` as true.
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, bool) for item in items) and info.field_name is not None:
            kinds = [part for part in _parts(cls.model_fields[info.field_name].annotation) if isinstance(part, type)]
            if (int in kinds or float in kinds) and bool not in kinds:
                raise ValueError("expected a number, not a boolean: YAML reads true, yes and on as one")
        return value

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            TypeError: a name is not a field; pydantic's own `model_copy` silently accepts any name.
        """
        check_names(type(self), changes)
        return self.model_copy(update=changes)


def _parts(annotation: Any) -> Iterator[Any]:
    """The types that make up an annotation."""
    yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def check_names(model: type[BaseModel], names: Iterable[str]) -> None:
    """Refuse names that are not fields of a model.

    Raises:
        TypeError: naming the first such name, and the nearest field.
    """
    fields = model.model_fields
    for name in names:
        if name not in fields:
            raise TypeError(f"{model.__name__} has no field {name!r}.{nearest(name, fields)}")


class Range(Spec):
    """A continuous range to search."""

    low: PositiveFloat
    """Lower bound, included."""
    high: PositiveFloat
    """Upper bound, included."""
    log: bool = True
    """Sample on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


def _run_name(value: str) -> str:
    if not _RUN_NAME.fullmatch(value):
        raise ValueError(f"{value!r} must match {_RUN_NAME.pattern}")
    return value


def _stop_rule_name(value: str) -> str:
    if ":" not in value and value not in SCHEDULERS:
        names = ", ".join(SCHEDULERS)
        raise ValueError(f"expected one of {names}, or package.module:Name.{nearest(value, SCHEDULERS)}")
    return value


def _at_most_one(value: Range | list[float] | float) -> Range | list[float] | float:
    top = value.high if isinstance(value, Range) else max(value) if isinstance(value, list) else value
    if top > 1:
        raise ValueError(f"a learning rate of {top} is above 1")
    return value


RunName = Annotated[str, AfterValidator(_run_name)]
"""A name that is valid as a folder name on every file system and in a bucket."""
SchedulerName = Annotated[str, AfterValidator(_stop_rule_name)]
"""A built-in stop rule, or package.module:Name."""
LearningRates = Annotated[
    Range | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_at_most_one)
]
"""A range or a list to search, or one fixed rate; none above 1."""
