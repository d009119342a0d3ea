"""Caps on cost and latency: the one rule for what may be trained and what may win. Pure.

In: cost and p95 latency of a variant. Out: the cap that it exceeds, if any. Never treats an unmeasured latency as
within the cap.
"""

from dataclasses import dataclass

from lft_ray.config import CostSpec, SelectionSpec

__all__ = ["Caps"]


@dataclass(frozen=True, slots=True)
class Caps:
    """Maximum cost and latency of a variant; None: no cap.

    Attributes:
        usd_per_million: value of ``selection.max_usd_per_million``, in dollars per million predictions.
        p95_ms: value of ``cost.traffic.p95_ms``, in milliseconds.
    """

    usd_per_million: float | None = None
    p95_ms: float | None = None

    @classmethod
    def of(cls, selection: SelectionSpec, cost: CostSpec) -> "Caps":
        """Return the caps of an experiment."""
        return cls(selection.max_usd_per_million, cost.traffic.p95_ms)

    def breach(self, usd_per_million: float, p95_ms: float | None) -> str:
        """Return the reason why a variant exceeds a cap; empty if it does not.

        Args:
            usd_per_million: dollars per million predictions.
            p95_ms: p95 latency over HTTP, in milliseconds; None or NaN if not measured, which exceeds any cap.
        """
        # "not <=" rather than ">", so that NaN exceeds the cap.
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
