"""Dollars of trials and of candidates: from measured usage and serving profiles to records. Pure."""

from dataclasses import dataclass

from lft_ray.candidates import Candidates
from lft_ray.cost.caps import Caps
from lft_ray.cost.dollars import price_variant, price_variants, training_usd
from lft_ray.cost.prices import Price
from lft_ray.errors import InputError
from lft_ray.records import PricedVariant, ProfileBook, TrialRecord, TrialResult
from lft_ray.run.ledger import StartedTrial

__all__ = ["Pricing"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices of one study.

    Attributes:
        price: dollars per second.
        utilisation: busy share of a bought core.
        profiles: what each size costs to serve.
        variants: by model size, the priced variants that it is offered at and has a profile of, the reference first.
    """

    price: Price
    utilisation: float
    profiles: ProfileBook
    variants: dict[str, tuple[PricedVariant, ...]]

    @classmethod
    def of(cls, candidates: Candidates, profiles: ProfileBook, *, utilisation: float) -> "Pricing":
        """The prices of these candidates, by what was profiled of them."""
        price, variants = candidates.price, {}
        for name, offered in candidates.variants.items():
            found = [price_variant(v, name, profiles, price, utilisation=utilisation) for v in offered]
            variants[name] = tuple(variant for variant in found if variant is not None)
        return cls(price, utilisation, profiles, variants)

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

    def offered(self, model_size: str) -> tuple[PricedVariant, ...]:
        """The priced variants of a size, the reference first: known before it is trained, but for their F1.

        Raises:
            InputError: it was not profiled.
        """
        variants = self.variants.get(model_size, ())
        if not variants:
            raise InputError(
                f"no serving profile of {model_size} in profiles.json",
                fix="delete profiles.json from the run folder, and resume: profiles are measured again",
            )
        return variants

    def cost(self, model_size: str) -> float:
        """Dollars per million predictions of a size's cheapest variant, known before it is trained."""
        return min(variant.usd_per_million_predictions for variant in self.offered(model_size))

    def reference_cost(self, model_size: str) -> float:
        """The same of its reference variant: what stands beside a trial's F1 in the search."""
        return self.offered(model_size)[0].usd_per_million_predictions

    def is_allowed(self, model_size: str, caps: Caps) -> bool:
        """Whether any variant of a size is within both caps."""
        return bool(self.admitted(model_size, caps))

    def admitted(self, model_size: str, caps: Caps) -> list[PricedVariant]:
        """The priced variants of a size that are within both caps, in the order of `offered`."""
        return [v for v in self.offered(model_size) if not caps.breach(v.usd_per_million_predictions, v.p95_ms)]
