"""What an endpoint shall serve, and what each replica says about it. In: a ``user_config``. Out: typed values.

`DesiredState` goes to the replicas, `ReplicaStatus` comes back from each of them, and what both come to is written down
as the `lft_ray.records.Endpoint`. Nothing else travels between the supervisor and the replicas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lft_ray.records import Record
from lft_ray.serve.rollout.stats import CanaryStats

__all__ = ["DesiredState", "ReplicaStatus", "rejection", "version_of"]


class DesiredState(Record):
    """What shall be served: Serve's ``user_config``."""

    current: str
    """URI of the bundle that shall answer."""
    previous: str | None = None
    """URI of the bundle that a starting replica opens when ``current`` cannot be opened."""
    version: str | None = None
    """Version that ``current`` must have; None: any."""
    serial: int = 0
    """Grows with every desired state, so that a replica's word on it can be told from its word on an older one."""
    candidate: str | None = None
    """URI of a bundle to be opened beside ``current`` and compared with it. A replica that starts meanwhile opens
    ``current`` all the same, so a candidate that turns out bad has never answered alone."""
    share: float = 0.0
    """Share of requests that the candidate answers, by the hash of their id; 0: none."""
    max_slowdown: float | None = None
    """Largest p95 of the candidate over that of ``current`` on the same texts; None: any."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> "DesiredState":
        """Read a ``user_config``. Raises pydantic's `ValidationError` for an unknown key or a value of another type."""
        return cls.model_validate(config, strict=True)

    def as_config(self) -> dict[str, Any]:
        """Write a ``user_config``: Serve takes plain JSON values alone."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What one replica says about the latest desired state it was given."""

    state: Literal["starting", "loading", "ready", "rejected"]
    serial: int
    """Of that desired state."""
    version: str
    """Version that answers now; empty when none does."""
    uri: str
    """URI of the bundle that answers now; empty when none does."""
    reason: str = ""
    """Why the desired state was rejected."""
    candidate_version: str = ""
    """Version of the candidate that was accepted; empty without one."""
    share: float = 0.0
    """Share of requests that the candidate answers."""
    replica: str = ""
    """Name that Serve gave the replica; empty outside Serve."""
    stats: CanaryStats | None = None
    """What the running model and the candidate did since the share began; None without a share."""

    @property
    def has_decided(self) -> bool:
        """Whether it has accepted or rejected the desired state."""
        return self.state in ("ready", "rejected")


def version_of(statuses: Sequence[ReplicaStatus]) -> str:
    """The version that all replicas answer with; the versions joined by commas where they differ."""
    return ",".join(sorted({status.version for status in statuses}))


def rejection(statuses: Sequence[ReplicaStatus]) -> str:
    """Why at least one replica rejected the desired state; empty when all accepted it."""
    return next((status.reason for status in statuses if status.reason), "")
