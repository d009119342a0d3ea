"""What each model size costs to serve before a study profiles it: measured by an earlier run, or predicted.

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
"""Rows, width and inner width of MiniLM's feed-forward for a batch of 256 tokens."""


def matmul_flops_per_core_s(*, seconds: float = 0.1, repeats: int = 5) -> float:
    """FLOPs per processor second of an fp32 product of MiniLM's shape in NumPy, on one thread: the best repeat.

    Args:
        seconds: processor time of one repeat.
        repeats: how often; the best counts, since whatever disturbs a repeat makes it slower.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, width, inner = _SHAPE
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, width), dtype=np.float32)
    right = rng.standard_normal((width, inner), dtype=np.float32)
    out = np.empty((rows, inner), dtype=np.float32)
    rates = []
    # Two spinning BLAS threads on two shared cores count 5x the processor seconds of one.
    with threadpool_limits(1):
        np.matmul(left, right, out=out)
        for _ in range(repeats):
            begun, count = time.process_time(), 0
            while (used := time.process_time() - begun) < seconds:
                np.matmul(left, right, out=out)
                count += 1
            rates.append(2.0 * rows * width * inner * count / used)
    return max(rates)


DEFAULT_MATMUL_FLOPS_PER_S = 5e10
"""One core of a present server in fp32, where nothing better is known."""
REQUEST_CORE_S = 5e-4
"""Core seconds of a request before any model is asked: 0.49 ms were measured on an EPYC core."""
SERVED_SHARE = 0.75
"""Share of the matrix rate that a replica reaches. With the overhead below it gives the fp32 profiles of MiniLM with 1,
3 and 6 layers at 22 tokens a text within 6% (measured 1.23, 3.53 and 6.74 ms; matrix rate 95 GFLOP/s)."""
TEXT_OVERHEAD_S = 2e-4
"""Tokenising a text, batching it and answering."""
PRECISION_GAIN = {"fp32": 1.0, "bf16": 1.5, "int8": 2.4}
"""How much less a text costs than in fp32: 1, 3 and 6 layers of MiniLM in int8 were measured at 0.73, 1.43 and 2.91 ms;
in bf16 6 layers took 4.9 ms where fp32 took 7.4."""
LINEAR_OVERHEAD_S = 5e-5
LINEAR_FLOPS_PER_S = 1e8
"""TF-IDF counts words rather than multiplies: with the overhead 0.07 ms for 22 tokens, as measured."""


def predicted_core_s_per_text(
    flops_per_text: float, matmul_flops_per_s: float, *, is_linear: bool, precision: str = "fp32"
) -> float:
    """Core seconds of one text in a busy replica.

    Args:
        flops_per_text: of one forward pass over a text of mean length.
        matmul_flops_per_s: of one core, such as `lft_ray.plan.serving_costs.matmul_flops_per_core_s` measures.
        is_linear: whether it is a linear model over counts.
        precision: of a network.
    """
    if is_linear:
        return LINEAR_OVERHEAD_S + flops_per_text / LINEAR_FLOPS_PER_S
    flops_per_s = SERVED_SHARE * PRECISION_GAIN.get(precision, 1.0) * matmul_flops_per_s
    return TEXT_OVERHEAD_S + flops_per_text / flops_per_s


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
        earlier: RunHistory,
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
