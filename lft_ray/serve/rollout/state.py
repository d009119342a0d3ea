"""Desired state of the deployment, and each replica's status. In: Serve's ``user_config``. Out: typed values.

The supervisor sends a `DesiredState` to the replicas, each replica reports a `ReplicaStatus`, and the result is
recorded as the `lft_ray.records.Endpoint`. Nothing else is exchanged between the supervisor and the replicas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lft_ray.records import Record
from lft_ray.serve.rollout.stats import CanaryStats

__all__ = ["DesiredState", "ReplicaStatus", "rejection", "version_of"]


class DesiredState(Record):
    """Desired state of the deployment: Serve's ``user_config``."""

    current: str
    """URI of the bundle to serve."""
    previous: str | None = None
    """URI of the fallback bundle, which a starting replica opens if ``current`` cannot be opened."""
    version: str | None = None
    """Required version of ``current``; None: any."""
    serial: int = 0
    """Increases with every desired state, so that a status can be attributed to its state."""
    candidate: str | None = None
    """URI of a bundle to open beside ``current`` and compare with it. A replica that starts meanwhile still serves
    ``current``, so a bad candidate never serves alone."""
    share: float = 0.0
    """Share of requests that the candidate serves, by the hash of their id; 0: none."""
    max_slowdown: float | None = None
    """Maximum ratio of the candidate's p95 to that of ``current`` on the same texts; None: any."""
    min_agreement: float = 0.0
    """Minimum share of texts that must get the same prediction from the candidate as from ``current``; 0: any."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> "DesiredState":
        """Parse a ``user_config``. Raises pydantic's `ValidationError` for unknown keys and values of other types."""
        return cls.model_validate(config, strict=True)

    def as_config(self) -> dict[str, Any]:
        """Convert to a ``user_config``: Serve accepts plain JSON values only."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Status of one replica with regard to the latest desired state that it received."""

    state: Literal["starting", "loading", "ready", "rejected"]
    serial: int
    """Serial of that desired state."""
    version: str
    """Version of the current model; empty before one is ready."""
    uri: str
    """URI of the current bundle; empty before one is ready."""
    reason: str = ""
    """Why the desired state was rejected."""
    candidate_version: str = ""
    """Version of the accepted candidate; empty without one."""
    share: float = 0.0
    """Share of requests that the candidate serves."""
    replica: str = ""
    """Id of the replica in Serve; empty outside Serve."""
    stats: CanaryStats | None = None
    """Statistics of the running model and the candidate since the canary began; None without a canary."""

    @property
    def has_decided(self) -> bool:
        """Whether the replica has accepted or rejected the desired state."""
        return self.state in ("ready", "rejected")


def version_of(statuses: Sequence[ReplicaStatus]) -> str:
    """Version that all replicas serve; comma-separated versions if they differ."""
    return ",".join(sorted({status.version for status in statuses}))


def rejection(statuses: Sequence[ReplicaStatus]) -> str:
    """Reason of a replica that rejected the desired state; empty if all accepted it."""
    return next((status.reason for status in statuses if status.reason), "")
