"""What each model size costs to serve before a study profiles it: measured by an earlier run, or predicted.

In: an experiment, its data, `Earlier`. Out: dollars per million predictions with their source. Starts nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lft_ray.config import Experiment
from lft_ray.cost.forecast import mean_tokens
from lft_ray.cost.predicted import DEFAULT_MATMUL_FLOPS_PER_S, REQUEST_CORE_S, predicted_core_s_per_text
from lft_ray.cost.prices import price_of
from lft_ray.cost.serving import usd_per_million
from lft_ray.errors import InputError
from lft_ray.models.base import ModelSize, model_sizes
from lft_ray.records import DatasetRecord
from lft_ray.search.earlier import Earlier
from lft_ray.search.pricing import Pricing

__all__ = ["ServingCosts", "Source"]

Source = Literal["measured", "predicted"]


@dataclass(frozen=True, slots=True)
class ServingCosts:
    """Serving dollars of a size, measured where they were, else predicted.

    Attributes:
        experiment: prices, utilisation and caps.
        pricing: of what earlier runs measured; None where that is nothing.
        tokens: mean tokens a text.
        request_s: core seconds of a request before any model is asked.
        flops_per_s: of one core, for predictions.
        rates: where those come from, in words.
    """

    experiment: Experiment
    pricing: Pricing | None
    tokens: float
    request_s: float
    flops_per_s: float
    rates: str

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        dataset: DatasetRecord,
        earlier: Earlier,
        measure: Callable[[], float] | None,
    ) -> "ServingCosts":
        """Costs for an experiment; ``measure`` gives a core's FLOPs per second where something must be predicted."""
        book = earlier.book
        pricing = Pricing.of(experiment, book) if book is not None else None
        names = {size for size, _, _ in earlier.profiles}
        needed = any(size.name not in names for size in model_sizes(experiment.models))
        if needed and measure is not None:
            flops_per_s = measure()
            rates = f"a matrix product of one core here just now, {flops_per_s / 1e9:.0f} GFLOP/s"
        else:
            flops_per_s = DEFAULT_MATMUL_FLOPS_PER_S
            rates = f"the default rate of {flops_per_s / 1e9:.0f} GFLOP/s a core"
        request_s = earlier.ingress.core_s_per_request if earlier.ingress else REQUEST_CORE_S
        tokens = mean_tokens(dataset, experiment.training.max_length)
        return cls(experiment, pricing, tokens, request_s, flops_per_s, rates)

    def usd(self, size: ModelSize) -> tuple[float, Source]:
        """Dollars per million predictions of a size's cheapest variant, and what they rest on."""
        if self.pricing is not None:
            try:
                return self.pricing.cost(size.name), "measured"
            except InputError:
                pass  # This size was in none of the earlier runs.
        flops = size.flops_per_text(round(self.tokens))
        text_s = min(
            predicted_core_s_per_text(flops, self.flops_per_s, is_linear=size.is_linear, precision=precision)
            for precision in self.experiment.export.precisions
        )
        spec = self.experiment.cost
        return usd_per_million(text_s, self.request_s, price_of(spec), utilisation=spec.utilisation), "predicted"

    def p95_ms(self, size: ModelSize) -> float | None:
        """Measured HTTP p95 of the size's fastest profile."""
        if self.pricing is None:
            return None
        return min((p.p95_ms for p in self.pricing.profiles.profiles if p.model_size == size.name), default=None)

    def breach(self, size: ModelSize) -> str:
        """Why the caps forbid a size; empty when they do not."""
        usd, source = self.usd(size)
        cap_usd, cap_ms = self.experiment.selection.max_usd_per_million, self.experiment.cost.traffic.p95_ms
        if cap_usd is not None and usd > cap_usd:
            return f"{source} ${usd:.4g} per million is above selection.max_usd_per_million {cap_usd:g}"
        if (
            source == "measured"
            and self.pricing is not None
            and not self.pricing.is_allowed(size.name, cap_usd, cap_ms)
        ):
            return f"measured p95 is above cost.traffic.p95_ms {cap_ms:g}"
        return ""
