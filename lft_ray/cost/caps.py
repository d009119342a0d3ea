"""The caps on dollars and latency: the one rule of what may be trained and what may win. Pure.

In: what a variant costs and how slow it is. Out: why a cap forbids it. A latency that was not measured is over the cap:
a cap that was not checked is not kept.
"""

from dataclasses import dataclass

from lft_ray.config import CostSpec, SelectionSpec

__all__ = ["Caps"]


@dataclass(frozen=True, slots=True)
class Caps:
    """What a variant may cost and take at most; None: no cap.

    Attributes:
        usd_per_million: ``selection.max_usd_per_million``.
        p95_ms: ``cost.traffic.p95_ms``.
    """

    usd_per_million: float | None = None
    p95_ms: float | None = None

    @classmethod
    def of(cls, selection: SelectionSpec, cost: CostSpec) -> "Caps":
        """The caps that an experiment states."""
        return cls(selection.max_usd_per_million, cost.traffic.p95_ms)

    def breach(self, usd_per_million: float, p95_ms: float | None) -> str:
        """Why a variant may not be served; empty when it may.

        Args:
            usd_per_million: dollars per million predictions.
            p95_ms: HTTP p95; None, or not a number: not measured, which no cap on it allows.
        """
        # Compared as "not within", so that what is not a number is never within.
        if self.usd_per_million is not None and not usd_per_million <= self.usd_per_million:
            return (
                f"${usd_per_million:.4g} per million predictions is above selection.max_usd_per_million "
                f"{self.usd_per_million:g}"
            )
        if self.p95_ms is None:
            return ""
        if p95_ms is None or p95_ms != p95_ms:
            return f"its p95 latency was not measured, and cost.traffic.p95_ms is {self.p95_ms:g}"
        return f"p95 {p95_ms:.0f} ms is above cost.traffic.p95_ms {self.p95_ms:g}" if p95_ms > self.p95_ms else ""
