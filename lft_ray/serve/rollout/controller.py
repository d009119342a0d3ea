"""Rollout controller: promotes a bundle after a comparison with the running one, optionally through a canary.

In: bundle URIs, and two callables that reach the replicas. Out: a `RolloutResult`. Knows no Ray, no files, and no clock
but the one that it is given. A candidate becomes ``current`` only after every replica has accepted it, so a replica
that starts at any moment opens a bundle that has served before.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lft_ray.config import RolloutSpec
from lft_ray.errors import LftError
from lft_ray.records import CanaryRecord, ServedVersion
from lft_ray.serve.rollout.canary import Verdict, drift, verdict
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of
from lft_ray.serve.rollout.stats import CanaryStats, merged

__all__ = ["MAX_HISTORY", "CanaryRun", "RolloutController", "RolloutResult"]

MAX_HISTORY = 3
"""Number of earlier bundles to which a rollback can return, each step one further back. Their copies are kept."""


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """Result of a promotion, of a rollback, or of a canary check.

    Not an `Endpoint`: for a rejected bundle the endpoint records the reason only, and where a promoted bundle is stored
    differs between an endpoint on this machine and one on an existing cluster.
    """

    kind: Literal["promoted", "rolled_back", "rejected", "canary"]
    version: str = ""
    """Version that is served now; empty unless promoted or rolled back."""
    reason: str = ""
    """Why the bundle was rejected."""
    canary: CanaryRecord | None = None
    """The canary that is running or has just ended."""


@dataclass(slots=True)
class CanaryRun:
    """A running canary."""

    uri: str
    version: str
    rules: RolloutSpec
    started_at: float
    """Time of the controller's clock, in seconds."""
    stats_by_replica: dict[str, CanaryStats] = field(default_factory=dict)
    """Replica id -> its latest statistics. Those of a replica that died remain included."""

    def update(self, status: ReplicaStatus) -> None:
        """Take over the latest statistics of a replica."""
        if status.stats is not None:
            self.stats_by_replica[status.replica] = status.stats

    def stats(self) -> CanaryStats:
        """Sum over replicas."""
        parts = self.stats_by_replica.values()
        return CanaryStats(merged(part.current for part in parts), merged(part.candidate for part in parts))

    def record(self, now: float, note: str = "", *, running: bool = True) -> CanaryRecord:
        """The canary as it is recorded in the endpoint.

        Args:
            now: current time of the controller's clock, in seconds.
            note: explanation for the user.
            running: whether the canary goes on.
        """
        stats = self.stats()
        current, candidate = stats.current, stats.candidate
        return CanaryRecord(
            version=self.version,
            share=self.rules.canary_share,
            minutes=self.rules.canary_minutes,
            elapsed_minutes=round((now - self.started_at) / 60.0, 2),
            requests=candidate.requests,
            current_requests=current.requests,
            errors=candidate.errors,
            current_errors=current.errors,
            p95_ms=round(candidate.p95_ms, 1),
            current_p95_ms=round(current.p95_ms, 1),
            drift=round(drift(current.buckets, candidate.buckets).psi, 3),
            running=running,
            note=note,
        )


class RolloutController:
    """Changes the bundle that an endpoint serves.

    Args:
        apply: applies a desired state and returns the status of each replica once it has decided; may raise `LftError`.
        survey: returns the status of every running replica that can be reached.
        desired: the current desired state; None before `begin`.
        history: what was served before ``desired``, the latest last.
        clock: returns a time in seconds that never steps back.
    """

    def __init__(
        self,
        apply: Callable[[DesiredState], Sequence[ReplicaStatus]],
        survey: Callable[[], Sequence[ReplicaStatus]],
        *,
        desired: DesiredState | None = None,
        history: Iterable[ServedVersion] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apply, self._survey, self._clock = apply, survey, clock
        self.desired = desired or DesiredState(current="")
        self.history = tuple(history)
        self._version = self.desired.version or ""
        self._canary: CanaryRun | None = None

    @property
    def candidate(self) -> str | None:
        """URI of the bundle of the running canary; None without one."""
        return self._canary.uri if self._canary else None

    def begin(self, uri: str) -> Sequence[ReplicaStatus]:
        """Serve the first bundle, without a comparison. Returns the status of each replica."""
        statuses = self._settle(DesiredState(current=uri, serial=self._next_serial()))
        self._version = version_of(statuses)
        return statuses

    def reapply(self) -> RolloutResult:
        """Apply the desired state once more, for settings other than the bundle; a running canary goes on."""
        desired = self.desired.model_copy(update={"serial": self._next_serial()})
        _, reason = self._attempt(desired)
        if reason:
            return RolloutResult("rejected", reason=reason)
        canary = self._canary
        return RolloutResult("canary", canary=canary.record(self._clock()) if canary else None)

    def promote(self, uri: str, rules: RolloutSpec) -> RolloutResult:
        """Open a bundle beside the running one on every replica and compare them; then start a canary, or promote it.

        A canary that is still running is ended first.

        Args:
            uri: URI of the bundle.
            rules: share and duration of the canary, and how much worse the bundle may be.
        """
        self._drop_candidate()
        self._canary = None
        proposed = self._unchanged().model_copy(
            update={"candidate": uri, "max_slowdown": rules.max_slowdown, "min_agreement": rules.min_agreement}
        )
        _, reason = self._attempt(proposed)
        if reason:
            return self._reject(reason)
        if not rules.canary_share:
            return self._promote(uri)
        statuses, reason = self._attempt(
            proposed.model_copy(update={"share": rules.canary_share, "serial": self._next_serial()})
        )
        if reason:
            return self._reject(reason)
        version = next((status.candidate_version for status in statuses), "")
        self._canary = CanaryRun(uri, version, rules, self._clock())
        return RolloutResult("canary", canary=self._canary.record(self._clock()))

    def rollback(self) -> RolloutResult:
        """End the running canary; without one, return to the bundle that was served before the running one.

        That bundle is not compared again. The one that it replaces leaves the history: a second rollback goes further
        back, and never forward to the bundle that was just rolled back.
        """
        if self._canary is not None:
            canary, self._canary = self._canary, None
            record = canary.record(self._clock(), "it was rolled back by hand", running=False)
            self._attempt(self._unchanged())
            return RolloutResult("canary", canary=record)
        if not self.history:
            return RolloutResult("rejected", reason="there is no earlier bundle to go back to")
        *older, target = self.history
        return self._accept(target.uri, older, kind="rolled_back")

    def check_canary(self) -> RolloutResult | None:
        """Evaluate the running canary; promote it at the end of its time, roll it back if it does harm.

        Returns:
            None without a canary.
        """
        canary = self._canary
        if canary is None:
            return None
        for status in self._survey():
            # A replica still busy with an older state has statistics of another canary.
            if status.serial == self.desired.serial:
                canary.update(status)
        now = self._clock()
        stats, time_is_up = canary.stats(), now - canary.started_at >= canary.rules.canary_minutes * 60
        decision = verdict(stats.current, stats.candidate, canary.rules, time_is_up=time_is_up)
        if decision.action == "wait":
            return RolloutResult("canary", canary=canary.record(now, decision.reason))
        return self._finish(canary, decision, now)

    def _drop_candidate(self) -> None:
        """Make the replicas close the candidate, if they have one open."""
        if self.desired.candidate is not None:
            self._attempt(self._unchanged())

    def _finish(self, canary: CanaryRun, decision: Verdict, now: float) -> RolloutResult:
        if decision.action == "rollback":
            return self._end(canary, decision.reason)
        self._canary = None
        result = self._promote(canary.uri)
        return replace(result, canary=canary.record(now, result.reason or "promoted", running=False))

    def _end(self, canary: CanaryRun, reason: str) -> RolloutResult:
        self._canary = None
        record = canary.record(self._clock(), reason, running=False)
        return replace(self._reject(reason), canary=record)

    def _promote(self, uri: str) -> RolloutResult:
        replaced = ServedVersion(version=self._version, uri=self.desired.current)
        return self._accept(uri, [*self.history, replaced], kind="promoted")

    def _accept(
        self, uri: str, history: Sequence[ServedVersion], *, kind: Literal["promoted", "rolled_back"]
    ) -> RolloutResult:
        kept = tuple(history[-MAX_HISTORY:])
        previous = kept[-1].uri if kept else None
        proposed = DesiredState(current=uri, previous=previous, serial=self._next_serial())
        statuses, reason = self._attempt(proposed)
        if not reason:
            self.history, self._version = kept, version_of(statuses)
            return RolloutResult(kind, version=self._version)
        # A replica that starts later must not try the bad bundle first, and one that accepted it must close it.
        self._attempt(self._unchanged())
        return RolloutResult("rejected", reason=reason)

    def _reject(self, reason: str) -> RolloutResult:
        self._attempt(self._unchanged())
        return RolloutResult("rejected", reason=reason)

    def _unchanged(self) -> DesiredState:
        """A desired state with the running bundle unchanged and alone."""
        return DesiredState(
            current=self.desired.current,
            previous=self.desired.previous,
            version=self.desired.version,
            serial=self._next_serial(),
        )

    def _attempt(self, desired: DesiredState) -> tuple[Sequence[ReplicaStatus], str]:
        """Apply a desired state. Returns the replicas' statuses and why it failed; empty if all accepted it."""
        try:
            statuses = self._settle(desired)
        except LftError as error:
            self._advance_serial(desired.serial)
            return (), error.message
        return statuses, rejection(statuses)

    def _settle(self, desired: DesiredState) -> Sequence[ReplicaStatus]:
        statuses = self._apply(desired)
        if rejection(statuses):
            self._advance_serial(desired.serial)
        else:
            self.desired = desired
        return statuses

    def _advance_serial(self, serial: int) -> None:
        # The bundle stays, but the next desired state must be newer than the one that failed.
        self.desired = self.desired.model_copy(update={"serial": serial})

    def _next_serial(self) -> int:
        # A counter and never a time: after the clock was set back, replicas would ignore every later state.
        return self.desired.serial + 1
