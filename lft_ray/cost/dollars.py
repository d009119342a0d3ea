"""Convert measured usage to dollars: of a trial, per million predictions, per month. Pure.

In: `Usage` or serving profiles, and a `Price`. Out: dollars, and variants with dollars and p95 filled in. Never
measures, never calls Ray.
"""

from collections.abc import Sequence

from lft_ray.cost.prices import Price
from lft_ray.records import IngressProfile, PricedVariant, ProfileBook, ScoredVariant, ServingProfile, Usage, Variant
from lft_ray.run.ledger import Allowance

__all__ = [
    "allowance", "monthly_usd", "price_variant", "price_variants", "profile_of", "training_usd",
    "usd_per_million", "usd_per_million_predictions",
]  # fmt: skip


def training_usd(usage: Usage, price: Price) -> float:
    """Dollars for the core and device seconds of a trial (never for its wall-clock seconds on a CPU).

    A machine is rented as a whole, so a trial pays for the resource of which it uses the larger share: one device
    second of a 4-core, 1-device machine pays for one second of the machine, which includes up to 4 core seconds.
    """
    return max(usage.core_s * price.training_usd_per_core_s, usage.device_s * price.training_usd_per_device_s)


def allowance(usd: float, price: Price) -> Allowance:
    """Core and device seconds that ``usd`` dollars buy: a trial within both costs at most that, by `training_usd`."""
    core, device = price.training_usd_per_core_s, price.training_usd_per_device_s
    return Allowance(core_s=usd / core if core > 0 else None, device_s=usd / device if device > 0 else None)


HOURS_PER_MONTH = 730.0
"""365 days x 24 hours / 12 months, as in the monthly prices of cloud providers."""


def usd_per_million_predictions(
    profile: ServingProfile, ingress: IngressProfile, price: Price, *, utilisation: float
) -> float:
    """Dollars for a million single-text requests, from measured profiles.

    Args:
        profile: profile of one variant, measured in a replica.
        ingress: CPU seconds per request outside the model.
        price: dollars per core second and device second.
        utilisation: busy share of a rented core, above 0 and at most 1.
    """
    seconds = (profile.core_s_per_text, ingress.core_s_per_request)
    return usd_per_million(*seconds, price, utilisation=utilisation, on_device=profile.device != "cpu")


def usd_per_million(
    text_s: float, request_s: float, price: Price, *, utilisation: float, on_device: bool = False
) -> float:
    """``1e6 x usd_per_core_second x (core_s_per_text + core_s_per_request) / utilisation``: the one definition.

    On an accelerator, seconds per text are device seconds and priced as such; seconds per request are core seconds.
    """
    per_text_s = price.usd_per_device_s if on_device else price.usd_per_core_s
    return 1e6 * (per_text_s * text_s + price.usd_per_core_s * request_s) / utilisation


def monthly_usd(
    usd_per_million: float,
    requests_per_month: int,
    *,
    min_replicas: int,
    cpus_per_replica: int,
    price: Price,
    on_device: bool = False,
) -> float:
    """Dollars per month at the given traffic, and never less than the cost of the minimum replicas.

    Args:
        usd_per_million: dollars per million predictions; see `usd_per_million_predictions`.
        requests_per_month: single-text requests.
        min_replicas: replicas that run even without traffic.
        cpus_per_replica: CPU cores reserved by one replica.
        price: on-demand dollars per core second and device second.
        on_device: whether each replica reserves one whole accelerator.
    """
    replica_s = max(cpus_per_replica * price.usd_per_core_s, price.usd_per_device_s if on_device else 0.0)
    floor = min_replicas * HOURS_PER_MONTH * 3600.0 * replica_s
    return max(requests_per_month / 1e6 * usd_per_million, floor)


def profile_of(book: ProfileBook, model_size: str, *, precision: str, max_length: int) -> ServingProfile | None:
    """Profile of a model size at a precision and length; None if it was not measured."""
    for profile in book.profiles:
        if (profile.model_size, profile.precision, profile.max_length) == (model_size, precision, max_length):
            return profile
    return None


def price_variant(
    variant: Variant, model_size: str, book: ProfileBook, price: Price, *, utilisation: float
) -> PricedVariant | None:
    """Add dollars and p95 to a variant, known before anything is trained; None if no profile was measured."""
    profile = profile_of(book, model_size, precision=variant.precision, max_length=variant.max_length)
    if profile is None:
        return None
    usd = usd_per_million_predictions(profile, book.ingress, price, utilisation=utilisation)
    return PricedVariant(
        precision=variant.precision,
        max_length=variant.max_length,
        usd_per_million_predictions=usd,
        p95_ms=profile.p95_ms,
    )


def price_variants(
    variants: Sequence[ScoredVariant], model_size: str, book: ProfileBook, price: Price, *, utilisation: float
) -> list[ScoredVariant]:
    """Copy the variants with dollars and p95 filled in; both stay None if no profile was measured."""
    priced = []
    for variant in variants:
        found = price_variant(variant, model_size, book, price, utilisation=utilisation)
        if found is not None:
            variant = variant.replace(
                usd_per_million_predictions=found.usd_per_million_predictions, p95_ms=found.p95_ms
            )
        priced.append(variant)
    return priced
