"""Dollars of trials and of candidates: from measured usage and serving profiles to records. Pure."""

import math
from dataclasses import dataclass

from lft_ray.config import Experiment
from lft_ray.cost.base import Price
from lft_ray.cost.prices import price_of
from lft_ray.cost.serving import price_variants, profile_of
from lft_ray.cost.training import training_usd
from lft_ray.errors import InputError
from lft_ray.ledger import StartedTrial
from lft_ray.records import ProfileBook, TrialRecord, TrialResult, Variant

__all__ = ["Pricing"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices of one study.

    Attributes:
        price: dollars per second.
        utilisation: busy share of a bought core.
        profiles: what each size costs to serve.
        offers: a variant of every precision that is offered, without a score.
    """

    price: Price
    utilisation: float
    profiles: ProfileBook
    offers: tuple[Variant, ...]

    @classmethod
    def of(cls, experiment: Experiment, profiles: ProfileBook) -> "Pricing":
        """The prices an experiment asks for."""
        length = experiment.training.max_length
        offers = tuple(Variant(precision=p, max_length=length, f1=0.0) for p in experiment.export.precisions)
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

    def cost(self, model_size: str) -> float:
        """Dollars per million predictions of a size's cheapest variant, known before it is trained.

        Raises:
            InputError: it was not profiled.
        """
        costs = [v.usd_per_million_predictions for v in self._offered(model_size)]
        known = [usd for usd in costs if usd is not None]
        if not known:
            raise InputError(
                f"no serving profile of {model_size} in profiles.json",
                fix="delete profiles.json from the run folder, and resume: profiles are measured again",
            )
        return min(known)

    def reference_cost(self, model_size: str) -> float:
        """The same of its reference variant (the first precision): what stands beside a trial's F1 in the search."""
        costs = [v.usd_per_million_predictions for v in self._offered(model_size)]
        return next((usd for usd in costs if usd is not None), None) or self.cost(model_size)

    def is_allowed(self, model_size: str, cap_usd: float | None, cap_ms: float | None) -> bool:
        """Whether any variant of a size is within both caps."""
        self.cost(model_size)
        return bool(self.admitted(model_size, cap_usd, cap_ms))

    def admitted(self, model_size: str, cap_usd: float | None, cap_ms: float | None) -> list[Variant]:
        """The priced variants of a size that are within both caps."""
        return [
            v
            for v in self._offered(model_size)
            if v.usd_per_million_predictions is not None
            and v.usd_per_million_predictions <= (math.inf if cap_usd is None else cap_usd)
            and (v.p95_ms or 0.0) <= (math.inf if cap_ms is None else cap_ms)
        ]

    def _offered(self, model_size: str) -> list[Variant]:
        offers = [
            v
            for v in self.offers
            if profile_of(self.profiles, model_size, precision=v.precision, max_length=v.max_length) is not None
        ]
        return price_variants(offers, model_size, self.profiles, self.price, utilisation=self.utilisation)
