"""Serving costs that depend on nothing measured, so that two searches of equal input make equal trials. Pure.

In: candidates, data, the dollars per core second. Out: nominal dollars per million predictions, from FLOPs at a default
rate. They order the start table and are what the sampler and the early stopping of a search without a clock see;
measured dollars differ by tens of percent between two profilings. Never shown: front, caps and choice are in measured
dollars.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lft_ray.candidates import Candidates
from lft_ray.cost.dollars import usd_per_million
from lft_ray.cost.forecast import mean_tokens
from lft_ray.cost.predicted import DEFAULT_MATMUL_FLOPS_PER_S, REQUEST_CORE_S, predicted_core_s_per_text
from lft_ray.cost.prices import Price
from lft_ray.models.sizes import ModelSize
from lft_ray.records import DatasetRecord, PricedVariant, TrialConfig, TrialRecord
from lft_ray.search.interfaces import ProposerProtocol
from lft_ray.search.stopping.base import StopRule, TrialSnapshot

__all__ = ["NominalCosts", "WithNominalCosts", "by_size"]


def by_size(size: ModelSize) -> tuple[bool, float, int, str]:
    """Sort key: linear models, then the fewest FLOPs, parameters; the order of the start table."""
    return (not size.is_linear, size.flops_per_token, size.params, size.name)


@dataclass(frozen=True, slots=True)
class NominalCosts:
    """Nominal dollars per million predictions of the variants of a study.

    Attributes:
        sizes: model sizes by name.
        variants: model size -> (precision, max length) of its variants, the reference first.
        tokens: max length -> mean tokens per text.
        price: dollars per second.
        utilisation: fraction of time that a paid core is busy.
    """

    sizes: dict[str, ModelSize]
    variants: dict[str, list[tuple[str, int]]]
    tokens: dict[int, float]
    price: Price
    utilisation: float

    @classmethod
    def of(cls, candidates: Candidates, dataset: DatasetRecord, *, utilisation: float) -> "NominalCosts":
        """Nominal costs of the candidates on prepared data."""
        return cls(
            {size.name: size for size in candidates.sizes},
            {name: [(v.precision, v.max_length) for v in found] for name, found in candidates.variants.items()},
            {v.max_length: mean_tokens(dataset, v.max_length) for found in candidates.variants.values() for v in found},
            candidates.price,
            utilisation,
        )

    def usd(self, model_size: str, precision: str, max_length: int) -> float:
        """Nominal dollars of one variant."""
        size = self.sizes[model_size]
        tokens = self.tokens.get(max_length, float(max_length))
        text_s = predicted_core_s_per_text(
            size.flops_per_text(round(tokens)),
            DEFAULT_MATMUL_FLOPS_PER_S,
            is_linear=size.is_linear,
            precision=precision,
        )
        return usd_per_million(text_s, REQUEST_CORE_S, self.price, utilisation=self.utilisation)

    def cost(self, model_size: str) -> float:
        """Nominal dollars of a size's cheapest variant."""
        return min(self.usd(model_size, *variant) for variant in self.variants[model_size])

    def reference_cost(self, model_size: str) -> float:
        """Nominal dollars of a size's reference variant."""
        return self.usd(model_size, *self.variants[model_size][0])

    def priced(self, model_size: str, variants: Sequence[PricedVariant]) -> list[PricedVariant]:
        """The same variants in nominal dollars."""
        return [
            v.replace(usd_per_million_predictions=self.usd(model_size, v.precision, v.max_length)) for v in variants
        ]

    def record(self, record: TrialRecord) -> TrialRecord:
        """The record of a trial in nominal dollars; unchanged if its size is not in the study any more."""
        name = record.config.model_size
        if name not in self.sizes:
            return record
        variants = [
            v.replace(usd_per_million_predictions=self.usd(name, v.precision, v.max_length)) for v in record.variants
        ]
        return record.replace(variants=variants)

    def rule(self, rule: StopRule) -> StopRule:
        """The same stop rule, shown nominal dollars."""

        def judge(snapshot: TrialSnapshot, /) -> str:
            return rule(replace(snapshot, ended=[self.record(record) for record in snapshot.ended]))

        return judge


@dataclass(frozen=True, slots=True)
class WithNominalCosts:
    """A proposer that sees ended trials in nominal dollars.

    Attributes:
        proposer: proposer whose own costs are nominal too.
        nominal: the costs.
    """

    proposer: ProposerProtocol
    nominal: NominalCosts

    def warm_up(self) -> None:
        """See `ProposerProtocol.warm_up`."""
        self.proposer.warm_up()

    def propose(
        self,
        n: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal; see `ProposerProtocol.propose`."""
        return self.proposer.propose(n, [self.nominal.record(record) for record in observed], pending, fits)
