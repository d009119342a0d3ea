"""Serving cost of each model size before a study profiles it: measured by an earlier run, or predicted from FLOPs.

In: candidates, their data, `RunHistory`. Out: dollars per million predictions with their source. Starts nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lft_ray.candidates import Candidates
from lft_ray.cost.caps import Caps
from lft_ray.cost.dollars import usd_per_million
from lft_ray.cost.forecast import mean_tokens
from lft_ray.cost.predicted import DEFAULT_MATMUL_FLOPS_PER_S, REQUEST_CORE_S, predicted_core_s_per_text
from lft_ray.errors import InputError
from lft_ray.models.sizes import ModelSize
from lft_ray.plan.history import RunHistory
from lft_ray.records import DatasetRecord
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.specs import StudySpecs

__all__ = [
    "DEFAULT_MATMUL_FLOPS_PER_S", "REQUEST_CORE_S", "ServingCosts", "Source", "matmul_flops_per_core_s",
    "predicted_core_s_per_text",
]  # fmt: skip

_SHAPE = (256, 384, 1536)
"""Rows, width and inner width of MiniLM's feed-forward layer for a batch of 256 tokens."""


def matmul_flops_per_core_s(*, seconds: float = 0.1, repeats: int = 5) -> float:
    """Measure FLOPs per CPU second of an fp32 matrix product of MiniLM's shape in NumPy, on one thread.

    Args:
        seconds: CPU seconds of one repeat.
        repeats: number of repeats; the best is returned, since interference only makes a repeat slower.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, width, inner = _SHAPE
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, width), dtype=np.float32)
    right = rng.standard_normal((width, inner), dtype=np.float32)
    out = np.empty((rows, inner), dtype=np.float32)
    rates = []
    # One thread: two spinning BLAS threads on two shared cores use 5x the CPU seconds of one.
    with threadpool_limits(1):
        np.matmul(left, right, out=out)
        for _ in range(repeats):
            begun, count = time.process_time(), 0
            while (used := time.process_time() - begun) < seconds:
                np.matmul(left, right, out=out)
                count += 1
            rates.append(2.0 * rows * width * inner * count / used)
    return max(rates)


Source = Literal["measured", "predicted"]


@dataclass(frozen=True, slots=True)
class ServingCosts:
    """Serving dollars of model sizes, measured if an earlier run has a profile, else predicted.

    Attributes:
        candidates: model sizes with their price and offered precisions.
        utilisation: fraction of time that a paid core is busy.
        caps: caps on serving dollars and latency.
        pricing: prices from profiles of earlier runs; None if there are none.
        tokens: mean tokens per text.
        request_s: core seconds of a request before the model is called.
        flops_per_s: FLOP/s of one core, for predictions.
        rates: source of ``flops_per_s``, for the user.
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
        earlier: RunHistory,
        measure: Callable[[], float] | None,
    ) -> "ServingCosts":
        """Serving costs of candidates; ``measure`` (FLOP/s of a core) is called only if a cost must be predicted."""
        book, utilisation = earlier.book, specs.cost.utilisation
        pricing = Pricing.of(candidates, book, utilisation=utilisation) if book is not None else None
        profiled = {size for size, _, _ in earlier.profiles}
        needed = any(size.name not in profiled for size in candidates.sizes)
        if needed and measure is not None:
            flops_per_s = measure()
            rates = f"a matrix product measured just now on one core of this machine, {flops_per_s / 1e9:.0f} GFLOP/s"
        else:
            flops_per_s = DEFAULT_MATMUL_FLOPS_PER_S
            rates = f"the default rate of {flops_per_s / 1e9:.0f} GFLOP/s per core"
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
        """Dollars per million predictions of a size's cheapest variant, and whether they are measured or predicted."""
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
        """Measured HTTP p95 of the size's fastest profile, in milliseconds; None if not measured."""
        if self.pricing is None:
            return None
        return min((p.p95_ms for p in self.pricing.profiles.profiles if p.model_size == size.name), default=None)

    def breach(self, size: ModelSize) -> str:
        """Why a size violates the caps; empty if it does not.

        Only dollars are predicted: the latency of a size is not checked until a run has profiled it.
        """
        usd, source = self.usd(size)
        dollars = Caps(usd_per_million=self.caps.usd_per_million)
        if over_cap := dollars.breach(usd, None):
            return f"{source} {over_cap}"
        if source == "predicted" or self.pricing is None or self.pricing.is_allowed(size.name, self.caps):
            return ""
        # Some variants are cheap enough, but none of them is fast enough: report the first of them.
        offered = self.pricing.offered(size.name)
        slow = next(v for v in offered if not dollars.breach(v.usd_per_million_predictions, None))
        return "as measured, " + self.caps.breach(slow.usd_per_million_predictions, slow.p95_ms)
