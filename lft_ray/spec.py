"""What the parts of the experiment tree are made of: their base, checked names, domains. Never reads a file."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from lft_ray.errors import nearest

__all__ = ["LearningRates", "Range", "RunName", "Share", "Spec", "StopRuleName"]

_RUN_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
_STOP_RULES = ("fifo", "dominance", "mo_asha")
"""Keys of `lft_ray.search.SCHEDULERS`, which a file is checked against before anything is spent."""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A part of a whole, which is never all of it."""


class Spec(BaseModel):
    """Base of all parts: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


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
    if ":" not in value and value not in _STOP_RULES:
        names = ", ".join(_STOP_RULES)
        raise ValueError(f"expected one of {names}, or package.module:Name.{nearest(value, _STOP_RULES)}")
    return value


def _probability_like(value: Range | list[float] | float) -> Range | list[float] | float:
    top = value.high if isinstance(value, Range) else max(value) if isinstance(value, list) else value
    if top > 1:
        raise ValueError(f"a learning rate of {top} is above 1")
    return value


RunName = Annotated[str, AfterValidator(_run_name)]
"""A name that is a folder everywhere."""
StopRuleName = Annotated[str, AfterValidator(_stop_rule_name)]
"""One of the product's stop rules, or package.module:Name."""
LearningRates = Annotated[
    Range | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_probability_like)
]
"""A range or a list to search, or one rate; none above 1."""
