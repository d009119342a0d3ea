"""Dollars of trials and of candidates: from measured usage and serving profiles to records. Pure."""

import math
from dataclasses import dataclass

from lft_ray.config import Experiment
from lft_ray.cost.base import Price
from lft_ray.cost.prices import price_of
from lft_ray.cost.serving import price_variants, profile_of
from lft_ray.cost.training import training_usd
from lft_ray.engines.offers import offers_of
from lft_ray.errors import InputError
from lft_ray.ledger import StartedTrial
from lft_ray.models.base import model_sizes
from lft_ray.records import ProfileBook, ServingProfile, TrialRecord, TrialResult, Variant

__all__ = ["Pricing"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices of one study.

    Attributes:
        price: dollars per second.
        utilisation: busy share of a bought core.
        profiles: what each size costs to serve.
        offers: by model size, the variants that it is offered at and has a profile of, the reference first, without a
            score.
    """

    price: Price
    utilisation: float
    profiles: ProfileBook
    offers: dict[str, tuple[Variant, ...]]

    @classmethod
    def of(cls, experiment: Experiment, profiles: ProfileBook) -> "Pricing":
        """The prices an experiment asks for."""
        offers = {}
        for size in model_sizes(experiment.models):
            variants = [
                Variant(precision=o.precision, max_length=o.max_length, f1=0.0) for o in offers_of(experiment, size)
            ]
            offers[size.name] = tuple(v for v in variants if _profile(profiles, size.name, v) is not None)
        return cls(price_of(experiment.cost), experiment.cost.utilisation, profiles, offers)

    def record(self, result: TrialResult, trial: StartedTrial) -> TrialRecord:
        """Price what a worker measured."""
        variants = price_variants(
            result.variants, result.config.model_size, self.profiles, self.price, utilisation=self.utilisation
        )
        return TrialRecord(
            **{name: getattr(result, name) for name in TrialResult.model_fields if name != "variants"},
            variants=variants,
            role=trial.role,
            confirms=trial.confirms,
            start=trial.start,
            training_usd=training_usd(result.usage, self.price),
        )

    def offered(self, model_size: str) -> list[Variant]:
        """The priced variants of a size, the reference first: known before it is trained, but for their F1 (0 here).

        Raises:
            InputError: it was not profiled.
        """
        offers = self.offers.get(model_size, ())
        if not offers:
            raise InputError(
                f"no serving profile of {model_size} in profiles.json",
                fix="delete profiles.json from the run folder, and resume: profiles are measured again",
            )
        return price_variants(offers, model_size, self.profiles, self.price, utilisation=self.utilisation)

    def cost(self, model_size: str) -> float:
        """Dollars per million predictions of a size's cheapest variant, known before it is trained."""
        return min(_usd(variant) for variant in self.offered(model_size))

    def reference_cost(self, model_size: str) -> float:
        """The same of its reference variant: what stands beside a trial's F1 in the search."""
        return _usd(self.offered(model_size)[0])

    def is_allowed(self, model_size: str, cap_usd: float | None, cap_ms: float | None) -> bool:
        """Whether any variant of a size is within both caps."""
        return bool(self.admitted(model_size, cap_usd, cap_ms))

    def admitted(self, model_size: str, cap_usd: float | None, cap_ms: float | None) -> list[Variant]:
        """The priced variants of a size that are within both caps, in the order of `offered`."""
        return [
            v
            for v in self.offered(model_size)
            if _usd(v) <= (math.inf if cap_usd is None else cap_usd)
            and (v.p95_ms or 0.0) <= (math.inf if cap_ms is None else cap_ms)
        ]


def _profile(book: ProfileBook, model_size: str, variant: Variant) -> ServingProfile | None:
    return profile_of(book, model_size, precision=variant.precision, max_length=variant.max_length)


def _usd(variant: Variant) -> float:
    usd = variant.usd_per_million_predictions
    return math.inf if usd is None else usd
