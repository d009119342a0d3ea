"""What the parts of the experiment tree are made of: their base, and domains to search. Never reads a file."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

__all__ = ["Range", "Share", "Spec"]

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
