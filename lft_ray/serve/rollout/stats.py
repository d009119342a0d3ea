"""Request statistics of a model: errors, latency histogram, kinds of predictions. Pure.

In: finished requests. Out: counts that can be summed over replicas.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["BIN_RATIO", "CanaryStats", "RequestStats", "merged"]

_FIRST_MS = 0.1
"""Lower end of the first bin."""
BIN_RATIO = 1.1
"""Upper over lower end of each latency bin, so latencies are known to within 10%."""
_BINS = 160
"""0.1 ms to 420 s."""


@dataclass(slots=True)
class RequestStats:
    """Statistics of one model on one replica, or their sum over replicas."""

    succeeded: int = 0
    """Number of requests with a prediction."""
    errors: int = 0
    """Number of failed requests."""
    bins: list[int] = field(default_factory=lambda: [0] * _BINS)
    """Number of successful requests per latency bin; the bins grow by `BIN_RATIO`."""
    buckets: Counter[str] = field(default_factory=Counter)
    """Kind of the prediction of each distinct first text of a request. One per text: a monitor that repeats its text is
    one piece of evidence, not a thousand; and one per request, because texts of one request are often alike."""

    @property
    def requests(self) -> int:
        """Number of successful and failed requests."""
        return self.succeeded + self.errors

    def add(self, latency_ms: float, bucket: str | None) -> None:
        """Count a successful request; None as its kind: the text has been counted before."""
        self.succeeded += 1
        position = math.log(max(latency_ms, _FIRST_MS) / _FIRST_MS) / math.log(BIN_RATIO)
        self.bins[min(int(position), _BINS - 1)] += 1
        if bucket is not None:
            self.buckets[bucket] += 1

    def fail(self) -> None:
        """Count a failed request."""
        self.errors += 1

    def latency_ms(self, rank: int) -> float:
        """Upper end of the bin of the ``rank``-th fastest request, from 1; 0 below that, infinity above the last."""
        if rank < 1:
            return 0.0
        cumulated = 0
        for number, count in enumerate(self.bins):
            cumulated += count
            if cumulated >= rank:
                return _FIRST_MS * BIN_RATIO ** (number + 1)
        return math.inf

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latency in ms, to within 10%; 0 without successful requests."""
        # Less a little: the product may exceed a whole number by a rounding error.
        return self.latency_ms(math.ceil(0.95 * self.succeeded - 1e-9))


@dataclass(frozen=True, slots=True)
class CanaryStats:
    """Statistics of the running model and of the candidate over the same time and the same kind of requests."""

    current: RequestStats
    """Statistics of the running model."""
    candidate: RequestStats


def merged(parts: Iterable[RequestStats]) -> RequestStats:
    """Sum over replicas, as a new object."""
    total = RequestStats()
    for part in parts:
        total.succeeded += part.succeeded
        total.errors += part.errors
        total.bins = [ours + theirs for ours, theirs in zip(total.bins, part.bins, strict=True)]
        total.buckets.update(part.buckets)
    return total
