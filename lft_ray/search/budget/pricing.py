"""Price trials and candidates. In: measured usage, serving profiles. Out: records with dollars. Pure."""

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
        utilisation: fraction of time that a paid core is busy.
        profiles: serving profile of each model size.
        variants: model size -> priced variants with a serving profile, the reference variant first.
    """

    price: Price
    utilisation: float
    profiles: ProfileBook
    variants: dict[str, tuple[PricedVariant, ...]]

    @classmethod
    def of(cls, candidates: Candidates, profiles: ProfileBook, *, utilisation: float) -> "Pricing":
        """Price the candidates from their serving profiles."""
        price, variants = candidates.price, {}
        for name, offered in candidates.variants.items():
            found = [price_variant(v, name, profiles, price, utilisation=utilisation) for v in offered]
            variants[name] = tuple(variant for variant in found if variant is not None)
        return cls(price, utilisation, profiles, variants)

    def record(self, result: TrialResult, trial: StartedTrial) -> TrialRecord:
        """Turn a worker's result into a priced record."""
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
        """The priced variants of a size, the reference first; known before training, except for their F1.

        Raises:
            InputError: the size has no serving profile.
        """
        variants = self.variants.get(model_size, ())
        if not variants:
            raise InputError(
                f"no serving profile of {model_size} in profiles.json",
                fix="delete profiles.json from the run folder and resume: the profiles are measured again",
            )
        return variants

    def cost(self, model_size: str) -> float:
        """Dollars per million predictions of a size's cheapest variant, known before training."""
        return min(variant.usd_per_million_predictions for variant in self.offered(model_size))

    def reference_cost(self, model_size: str) -> float:
        """Dollars per million predictions of a size's reference variant: the cost objective of the search."""
        return self.offered(model_size)[0].usd_per_million_predictions

    def is_allowed(self, model_size: str, caps: Caps) -> bool:
        """Whether at least one variant of a size meets both caps."""
        return bool(self.admitted(model_size, caps))

    def admitted(self, model_size: str, caps: Caps) -> list[PricedVariant]:
        """The priced variants of a size that meet both caps, in the order of `offered`."""
        return [v for v in self.offered(model_size) if not caps.breach(v.usd_per_million_predictions, v.p95_ms)]
