"""What each model size costs to serve before a study profiles it: measured by an earlier run, or predicted.

In: candidates, their data, `Earlier`. Out: dollars per million predictions with their source. Starts nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lft_ray.candidates import Candidates
from lft_ray.cost.caps import Caps
from lft_ray.cost.forecast import mean_tokens
from lft_ray.cost.predicted import DEFAULT_MATMUL_FLOPS_PER_S, REQUEST_CORE_S, predicted_core_s_per_text
from lft_ray.cost.serving import usd_per_million
from lft_ray.errors import InputError
from lft_ray.models.base import ModelSize
from lft_ray.records import DatasetRecord
from lft_ray.search.earlier import Earlier
from lft_ray.search.pricing import Pricing
from lft_ray.search.specs import StudySpecs

__all__ = ["ServingCosts", "Source"]

Source = Literal["measured", "predicted"]


@dataclass(frozen=True, slots=True)
class ServingCosts:
    """Serving dollars of a size, measured where they were, else predicted.

    Attributes:
        candidates: their price, and the precisions that they are offered at.
        utilisation: busy share of a bought core.
        caps: on dollars and latency.
        pricing: of what earlier runs measured; None where that is nothing.
        tokens: mean tokens a text.
        request_s: core seconds of a request before any model is asked.
        flops_per_s: of one core, for predictions.
        rates: where those come from, in words.
    """

    candidates: Candidates
    utilisation: float
    caps: Caps
    pricing: Pricing | None
    tokens: float
    request_s: float
    flops_per_s: float
    rates: str

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        dataset: DatasetRecord,
        specs: StudySpecs,
        earlier: Earlier,
        measure: Callable[[], float] | None,
    ) -> "ServingCosts":
        """Costs of candidates; ``measure`` gives a core's FLOPs per second where something must be predicted."""
        book, utilisation = earlier.book, specs.cost.utilisation
        pricing = Pricing.of(candidates, book, utilisation=utilisation) if book is not None else None
        names = {size for size, _, _ in earlier.profiles}
        needed = any(size.name not in names for size in candidates.sizes)
        if needed and measure is not None:
            flops_per_s = measure()
            rates = f"a matrix product of one core here just now, {flops_per_s / 1e9:.0f} GFLOP/s"
        else:
            flops_per_s = DEFAULT_MATMUL_FLOPS_PER_S
            rates = f"the default rate of {flops_per_s / 1e9:.0f} GFLOP/s a core"
        request_s = earlier.ingress.core_s_per_request if earlier.ingress else REQUEST_CORE_S
        return cls(
            candidates=candidates,
            utilisation=utilisation,
            caps=specs.caps,
            pricing=pricing,
            tokens=mean_tokens(dataset, specs.training.max_length),
            request_s=request_s,
            flops_per_s=flops_per_s,
            rates=rates,
        )

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
            for precision in self.candidates.precisions
        )
        usd = usd_per_million(text_s, self.request_s, self.candidates.price, utilisation=self.utilisation)
        return usd, "predicted"

    def p95_ms(self, size: ModelSize) -> float | None:
        """Measured HTTP p95 of the size's fastest profile."""
        if self.pricing is None:
            return None
        return min((p.p95_ms for p in self.pricing.profiles.profiles if p.model_size == size.name), default=None)

    def breach(self, size: ModelSize) -> str:
        """Why the caps forbid a size; empty when they do not.

        Only dollars are predicted: the latency of a size that no run has measured is not checked before its profile.
        """
        usd, source = self.usd(size)
        dollars = Caps(usd_per_million=self.caps.usd_per_million)
        if too_dear := dollars.breach(usd, None):
            return f"{source} {too_dear}"
        if source == "predicted" or self.pricing is None or self.pricing.is_allowed(size.name, self.caps):
            return ""
        # Some variant is cheap enough, and none of those is fast enough: the reference's reason stands for them all.
        offered = self.pricing.offered(size.name)
        slow = next(v for v in offered if not dollars.breach(v.usd_per_million_predictions, None))
        return "as measured, " + self.caps.breach(slow.usd_per_million_predictions, slow.p95_ms)
