"""Turn what a trial used into dollars. In: Usage and Price. Out: dollars. Never measures."""

from lft_ray.cost.base import Price
from lft_ray.ledger import Allowance
from lft_ray.records import Usage

__all__ = ["allowance", "training_usd"]


def training_usd(usage: Usage, price: Price) -> float:
    """Dollars for a trial's processor and accelerator seconds (never its wall seconds on a processor).

    A machine is bought whole, so a trial pays for its share of whatever it uses the larger share of: one device
    second of a 4-core, 1-device machine pays for the machine's second, and up to 4 core seconds come with it.
    """
    return max(usage.core_s * price.training_usd_per_core_s, usage.device_s * price.training_usd_per_device_s)


def allowance(usd: float, price: Price) -> Allowance:
    """What so many dollars buy of either: a trial that stays within both costs no more, by `training_usd`."""
    core, device = price.training_usd_per_core_s, price.training_usd_per_device_s
    return Allowance(core_s=usd / core if core > 0 else None, device_s=usd / device if device > 0 else None)
