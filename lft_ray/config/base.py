"""What the parts of the experiment tree are made of: their base, checked names, domains. Never reads a file."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from lft_ray.errors import nearest

__all__ = ["SCHEDULERS", "LearningRates", "Range", "RunName", "SchedulerName", "Share", "Spec", "check_names"]

_RUN_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")

SCHEDULERS: dict[str, str] = {
    "fifo": "lft_ray.search.stopping.dominance:never",
    "dominance": "lft_ray.search.stopping.dominance:dominance",
    "mo_asha": "lft_ray.search.stopping.dominance:mo_asha",
}
"""Name -> callable ``(seed) -> lft_ray.search.stopping.base.StopRule``, asked at each point of a curve.

It stands here, and not in the search, for a file's ``search.scheduler`` is checked against it before anything is spent.
"""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A part of a whole, which is never all of it."""


class Spec(BaseModel):
    """Base of all parts: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    def replace(self, **changes: Any) -> Self:
        """A copy with other values of some fields.

        Raises:
            TypeError: a name is no field: pydantic's own `model_copy` takes any name, and says nothing.
        """
        check_names(type(self), changes)
        return self.model_copy(update=changes)


def check_names(model: type[BaseModel], names: Iterable[str]) -> None:
    """Refuse names that are no fields of a model.

    Raises:
        TypeError: naming the first such name, and the nearest field.
    """
    fields = model.model_fields
    for name in names:
        if name not in fields:
            raise TypeError(f"{model.__name__} has no field {name!r}.{nearest(name, fields)}")


class Range(Spec):
    """A continuous domain to search."""

    low: PositiveFloat
    high: PositiveFloat
    log: bool = True
    """Search on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


def _run_name(value: str) -> str:
    if not _RUN_NAME.match(value):
        raise ValueError(f"{value!r} must match {_RUN_NAME.pattern}")
    return value


def _stop_rule_name(value: str) -> str:
    if ":" not in value and value not in SCHEDULERS:
        names = ", ".join(SCHEDULERS)
        raise ValueError(f"expected one of {names}, or package.module:Name.{nearest(value, SCHEDULERS)}")
    return value


def _probability_like(value: Range | list[float] | float) -> Range | list[float] | float:
    top = value.high if isinstance(value, Range) else max(value) if isinstance(value, list) else value
    if top > 1:
        raise ValueError(f"a learning rate of {top} is above 1")
    return value


RunName = Annotated[str, AfterValidator(_run_name)]
"""A name that is a folder everywhere."""
SchedulerName = Annotated[str, AfterValidator(_stop_rule_name)]
"""One of the product's stop rules, or package.module:Name."""
LearningRates = Annotated[
    Range | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_probability_like)
]
"""A range or a list to search, or one rate; none above 1."""
