"""What a model did with its requests: errors, latencies, labels. Counts that add up over replicas. Pure."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["BIN_RATIO", "CanaryStats", "RequestStats", "merged"]

_FIRST_MS = 0.1
BIN_RATIO = 1.1
"""A latency is known to a tenth: each bin ends 1.1 times where it begins."""
_BINS = 160
"""0.1 ms to 420 s."""


@dataclass(slots=True)
class RequestStats:
    """Counts of one model."""

    answered: int = 0
    errors: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * _BINS)
    """Answers by latency, in bins that grow by `BIN_RATIO`."""
    labels: Counter[str] = field(default_factory=Counter)
    """Best label of the first text of each request: one a request, for texts of one request are alike."""

    @property
    def requests(self) -> int:
        """Answers and errors."""
        return self.answered + self.errors

    def add(self, latency_ms: float, label: str) -> None:
        """Count an answer."""
        self.answered += 1
        place = math.log(max(latency_ms, _FIRST_MS) / _FIRST_MS) / math.log(BIN_RATIO)
        self.bins[min(int(place), _BINS - 1)] += 1
        self.labels[label] += 1

    def fail(self) -> None:
        """Count an error."""
        self.errors += 1

    def latency_ms(self, rank: int) -> float:
        """Upper end of the bin that holds the ``rank``-th fastest answer, counted from 1; 0 below, infinity above."""
        if rank < 1:
            return 0.0
        seen = 0
        for number, count in enumerate(self.bins):
            seen += count
            if seen >= rank:
                return _FIRST_MS * BIN_RATIO ** (number + 1)
        return math.inf

    @property
    def p95_ms(self) -> float:
        """Latency that 95 of 100 answers stay below, to a tenth; 0 without answers."""
        return self.latency_ms(math.ceil(0.95 * self.answered - 1e-9))


@dataclass(frozen=True, slots=True)
class CanaryStats:
    """What two models did in the same time, with the same kind of requests."""

    current: RequestStats
    """Of the running model."""
    candidate: RequestStats


def merged(parts: Iterable[RequestStats]) -> RequestStats:
    """The sum over replicas, in counts of its own."""
    total = RequestStats()
    for part in parts:
        total.answered += part.answered
        total.errors += part.errors
        total.bins = [ours + theirs for ours, theirs in zip(total.bins, part.bins, strict=True)]
        total.labels.update(part.labels)
    return total
