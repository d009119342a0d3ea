"""What a price is, and how a user brings their own. Values only; nothing is read or computed from usage here."""

from dataclasses import dataclass
from typing import Protocol

from lft_ray.config import CostSpec

__all__ = ["Price", "PriceSource"]


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per second of one bought core and of one whole accelerator.

    Serving is always priced on demand: an endpoint cannot be interrupted. Training takes the spot rates where
    ``cost.spot`` is set and the row has one.
    """

    name: str
    usd_per_core_s: float
    usd_per_device_s: float
    """0 when the machine has no accelerator."""
    training_usd_per_core_s: float
    training_usd_per_device_s: float
    as_of: str
    """Date of the price as the sheet gives it, or ``yours`` for a price of the experiment file."""
    source: str
    region: str = ""
    spot: bool = False
    """Whether training is priced at spot rates."""


class PriceSource(Protocol):
    """A user's own price: ``cost.price: package.module:name`` of a callable like this."""

    def __call__(self, spec: CostSpec) -> Price:
        """Return the price for an experiment's cost section."""
