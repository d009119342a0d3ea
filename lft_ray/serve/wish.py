"""What shall be served, and what became of that: the two values that the supervisor and the replicas exchange."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["ServiceState", "Wish"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be served: Serve's ``user_config``."""

    current: str
    """URI of the bundle that shall answer."""
    previous: str | None = None
    """URI of the bundle that a starting replica opens when ``current`` cannot be opened."""
    version: str | None = None
    """Version that ``current`` must have; None: any."""
    serial: int = 0
    """Grows with every wish, so that an answer about it can be told from one about an older wish."""
    candidate: str | None = None
    """URI of a bundle to be opened beside ``current`` and compared with it. A replica that starts meanwhile opens
    ``current`` all the same, so a candidate that turns out bad has never answered alone."""
    share: float = 0.0
    """Share of requests that the candidate answers, by the hash of their id; 0: none."""
    max_slowdown: float | None = None
    """Largest p95 of the candidate over that of ``current`` on the same texts; None: any."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Wish":
        """Read a ``user_config``."""
        return cls(**config)

    def as_config(self) -> dict[str, Any]:
        """Write a ``user_config``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What became of the latest wish."""

    state: Literal["starting", "loading", "ready", "rejected"]
    serial: int
    version: str
    """Version that answers now; empty when none does."""
    uri: str
    """URI of the bundle that answers now; empty when none does."""
    reason: str = ""
    """Why the wish was rejected."""
    candidate_version: str = ""
    """Version of the candidate that was accepted; empty without one."""
    share: float = 0.0
    """Share of requests that the candidate answers."""
