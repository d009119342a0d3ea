"""Prices per core second and device second: the packaged price sheet, plugins and the user's own prices.

In: a `CostSpec`. Out: a `Price`. Reads prices.toml and never anything else: no network.
"""

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from lft_ray.config import CostSpec
from lft_ray.errors import ConfigError, nearest
from lft_ray.plugins import resolve

__all__ = ["Price", "PriceRow", "PriceSource", "price_of", "price_table", "rows"]


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per second of one rented core and of one whole accelerator.

    Serving is always priced on demand, since an endpoint cannot be interrupted. Training uses spot rates if
    ``cost.spot`` is set and the row has one.
    """

    name: str
    usd_per_core_s: float
    usd_per_device_s: float
    """0 if the machine has no accelerator."""
    training_usd_per_core_s: float
    training_usd_per_device_s: float
    as_of: str
    """Date of the price in the sheet, or ``yours`` for a price set in the experiment file."""
    source: str
    """Page on which the price can be checked."""
    region: str = ""
    spot: bool = False
    """Whether training is priced at spot rates."""


class PriceSource(Protocol):
    """Protocol of a price plugin: a callable named by ``cost.price: package.module:name``."""

    def __call__(self, spec: CostSpec) -> Price:
        """Return the price for the cost section of an experiment."""


SECONDS_PER_HOUR = 3600.0
# Price page of each provider, for rows without a source of their own.
PAGES = {
    "AWS": "https://aws.amazon.com/ec2/pricing/on-demand/",
    "GCP": "https://cloud.google.com/compute/all-pricing",
    "Azure": "https://azure.microsoft.com/pricing/details/virtual-machines/linux/",
}


class PriceRow(BaseModel):
    """One row of the price sheet. Dollars are per hour of the whole machine unless the field name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vcpus: PositiveInt
    gpus: int = 0
    on_demand: PositiveFloat | None = None
    spot: PositiveFloat | None = None
    usd_per_core_hour: PositiveFloat | None = None
    usd_per_device_hour: PositiveFloat | None = None
    provider: Literal["AWS", "GCP", "Azure", ""] = ""
    region: str
    as_of: str
    seen_in: str = ""
    source: str = ""
    note: str = ""

    @property
    def page(self) -> str:
        """Page on which the price can be checked."""
        return self.source or PAGES[self.provider]

    def core_and_device_usd_per_s(self, hourly_usd: float | None) -> tuple[float, float]:
        """Dollars per core second and per device second if the machine costs ``hourly_usd``; None: the row's own rates.

        A machine is rented as a whole: a core second costs its price divided by its vCPUs, a device second its price
        divided by its devices. `training_usd` charges only for the scarcer of the two, so nothing is paid twice.
        """
        if hourly_usd is None:
            core, device = self.usd_per_core_hour or 0.0, self.usd_per_device_hour or 0.0
        else:
            core, device = hourly_usd / self.vcpus, hourly_usd / self.gpus if self.gpus else 0.0
        return core / SECONDS_PER_HOUR, device / SECONDS_PER_HOUR


@cache
def price_table() -> dict[str, PriceRow]:
    """All rows of the packaged sheet by name, in sheet order."""
    text = files("lft_ray.cost").joinpath("prices.toml").read_text(encoding="utf-8")
    return {name: PriceRow.model_validate(row) for name, row in tomllib.loads(text)["machines"].items()}


def rows() -> list[dict[str, Any]]:
    """The sheet as flat rows with the same keys, for ``lft env --prices``; missing values are None."""
    return [
        {
            "name": name,
            "provider": row.provider or None,
            "region": row.region or None,
            "vcpus": row.vcpus,
            "gpus": row.gpus,
            "usd_per_hour": row.on_demand,
            "spot_usd_per_hour": row.spot,
            "usd_per_core_hour": round(row.core_and_device_usd_per_s(row.on_demand)[0] * SECONDS_PER_HOUR, 6),
            "as_of": row.as_of,
            "seen_in": row.seen_in or None,
            "check_at": row.page,
        }
        for name, row in price_table().items()
    ]


def price_of(spec: CostSpec) -> Price:
    """Return the price that an experiment names, overridden by prices set in the experiment itself.

    Args:
        spec: cost section of the experiment.

    Raises:
        ConfigError: the sheet has no row of this name, or a price plugin returns something other than a Price.
    """
    price = _from_plugin(spec) if ":" in spec.price else _from_sheet(spec)
    if spec.usd_per_core_hour is not None:
        rate = spec.usd_per_core_hour / SECONDS_PER_HOUR
        price = replace(price, usd_per_core_s=rate, training_usd_per_core_s=rate)
    if spec.usd_per_device_hour is not None:
        rate = spec.usd_per_device_hour / SECONDS_PER_HOUR
        price = replace(price, usd_per_device_s=rate, training_usd_per_device_s=rate)
    if spec.usd_per_core_hour is not None or spec.usd_per_device_hour is not None:
        price = replace(price, as_of="yours", source="the experiment file", spot=False)
    return price


def _from_sheet(spec: CostSpec) -> Price:
    table = price_table()
    row = table.get(spec.price)
    if row is None:
        raise ConfigError(
            f"unknown value {spec.price!r} at cost.price: expected a row of the price sheet, or package.module:name."
            f"{nearest(spec.price, table)}",
            fix="lft env --prices lists the rows; or set cost.usd_per_core_hour to your own price",
        )
    core, device = row.core_and_device_usd_per_s(row.on_demand)
    spot = spec.spot and row.spot is not None
    training_core, training_device = row.core_and_device_usd_per_s(row.spot) if spot else (core, device)
    return Price(
        name=spec.price,
        usd_per_core_s=core,
        usd_per_device_s=device,
        training_usd_per_core_s=training_core,
        training_usd_per_device_s=training_device,
        as_of=row.as_of,
        source=row.page,
        region=row.region,
        spot=spot,
    )


def _from_plugin(spec: CostSpec) -> Price:
    price = resolve(spec.price, {}, where="cost.price")(spec)
    if not isinstance(price, Price):
        raise ConfigError(
            f"{spec.price!r} at cost.price returned a {type(price).__name__}: expected lft_ray.cost.prices.Price",
            fix="return a Price from this callable",
        )
    return price
