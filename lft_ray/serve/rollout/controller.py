"""How an endpoint comes to serve another bundle: beside the old one, perhaps with a share of the traffic, then alone.

In: bundle URIs, and two callables that reach the replicas. Out: a `RolloutResult`. Knows no Ray, no files and no clock
but the one it is given. A replica that starts at any moment opens a bundle that has answered before: a candidate
becomes ``current`` only when every replica has accepted it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lft_ray.config import RolloutSpec
from lft_ray.errors import LftError
from lft_ray.records import CanaryRecord
from lft_ray.serve.rollout.canary import Verdict, drift, verdict
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of
from lft_ray.serve.rollout.stats import CanaryStats, merged

__all__ = ["CanaryRun", "RolloutController", "RolloutResult"]


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """What came of a promotion, of a rollback, or of a look at the canary.

    Not an `Endpoint`: of a rejected bundle the endpoint writes down nothing but the reason, and where the bundle that
    was promoted is kept differs between an endpoint of this machine and one on an existing cluster.
    """

    kind: Literal["promoted", "rejected", "canary"]
    version: str = ""
    """Version that answers since; empty unless promoted."""
    reason: str = ""
    """Why it was rejected."""
    canary: CanaryRecord | None = None
    """The canary that runs or has just ended."""


@dataclass(slots=True)
class CanaryRun:
    """The canary that runs."""

    uri: str
    version: str
    rules: RolloutSpec
    began: float
    seen: dict[str, CanaryStats] = field(default_factory=dict)
    """Replica -> its latest counts. One that died keeps what it had counted."""

    def see(self, status: ReplicaStatus) -> None:
        """Take the counts of a replica."""
        if status.stats is not None:
            self.seen[status.replica] = status.stats

    def stats(self) -> CanaryStats:
        """The sum over replicas."""
        parts = self.seen.values()
        return CanaryStats(merged(part.current for part in parts), merged(part.candidate for part in parts))

    def record(self, now: float, note: str = "", *, running: bool = True) -> CanaryRecord:
        """What is written down of it."""
        stats = self.stats()
        current, candidate = stats.current, stats.candidate
        return CanaryRecord(
            version=self.version,
            share=self.rules.canary_share,
            minutes=self.rules.canary_minutes,
            elapsed_minutes=round((now - self.began) / 60.0, 2),
            requests=candidate.requests,
            current_requests=current.requests,
            errors=candidate.errors,
            current_errors=current.errors,
            p95_ms=round(candidate.p95_ms, 1),
            current_p95_ms=round(current.p95_ms, 1),
            drift=round(drift(current.labels, candidate.labels).psi, 3),
            running=running,
            note=note,
        )


class RolloutController:
    """The bundle of one endpoint, and how it changes.

    Args:
        apply: makes the replicas take a desired state and returns what each of them made of it; may raise `LftError`.
        survey: the status of every running replica that can be met.
        desired: what is served now; None before `begin`.
        clock: seconds.
    """

    def __init__(
        self,
        apply: Callable[[DesiredState], Sequence[ReplicaStatus]],
        survey: Callable[[], Sequence[ReplicaStatus]],
        *,
        desired: DesiredState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apply, self._survey, self._clock = apply, survey, clock
        self.desired = desired or DesiredState(current="")
        self._canary: CanaryRun | None = None

    @property
    def candidate(self) -> str | None:
        """URI of the bundle that a canary tries."""
        return self._canary.uri if self._canary else None

    def begin(self, uri: str) -> Sequence[ReplicaStatus]:
        """The first bundle: there is nothing to compare it with. Returns what each replica made of it."""
        return self._settle(DesiredState(current=uri, serial=self._next()))

    def promote(self, uri: str, rules: RolloutSpec) -> RolloutResult:
        """Let every replica open a bundle beside the running one and compare; then a canary, or the swap.

        A canary that still runs is ended first.
        """
        self.drop()
        self._canary = None
        offered = self._alone(candidate=uri, max_slowdown=rules.max_slowdown)
        _, reason = self._attempt(offered)
        if reason:
            return self._reject(reason)
        if not rules.canary_share:
            return self._accept(uri)
        statuses, reason = self._attempt(
            offered.model_copy(update={"share": rules.canary_share, "serial": self._next()})
        )
        if reason:
            return self._reject(reason)
        version = next((status.candidate_version for status in statuses), "")
        self._canary = CanaryRun(uri, version, rules, self._clock())
        return RolloutResult("canary", canary=self._canary.record(self._clock()))

    def rollback(self) -> RolloutResult:
        """End a canary that runs; without one, go back to the bundle before. Nothing is compared: it has served."""
        if self._canary is not None:
            return self._end(self._canary, "it was rolled back by hand")
        if self.desired.previous is None:
            return RolloutResult("rejected", reason="there is no earlier bundle to go back to")
        return self._accept(self.desired.previous)

    def look(self) -> RolloutResult | None:
        """Look at the canary, and end it where its time is up or it does harm. None: no canary."""
        canary = self._canary
        if canary is None:
            return None
        for status in self._survey():
            if status.serial == self.desired.serial:
                canary.see(status)
        now = self._clock()
        stats, time_is_up = canary.stats(), now - canary.began >= canary.rules.canary_minutes * 60
        found = verdict(stats.current, stats.candidate, canary.rules, time_is_up=time_is_up)
        if found.action == "wait":
            return RolloutResult("canary", canary=canary.record(now, found.reason))
        return self._decide(canary, found, now)

    def drop(self) -> None:
        """Let the replicas go back to the running bundle alone, if they hold another."""
        if self.desired.candidate is not None:
            self._attempt(self._alone())

    def _decide(self, canary: CanaryRun, found: Verdict, now: float) -> RolloutResult:
        if found.action == "rollback":
            return self._end(canary, found.reason)
        self._canary = None
        result = self._accept(canary.uri)
        return replace(result, canary=canary.record(now, result.reason or "promoted", running=False))

    def _end(self, canary: CanaryRun, reason: str) -> RolloutResult:
        self._canary = None
        record = canary.record(self._clock(), reason, running=False)
        return replace(self._reject(reason), canary=record)

    def _accept(self, uri: str) -> RolloutResult:
        offered = DesiredState(current=uri, previous=self.desired.current, serial=self._next())
        statuses, reason = self._attempt(offered)
        if not reason:
            return RolloutResult("promoted", version=version_of(statuses))
        # A replica that starts later must not try the bad bundle first, and one that took it must let it go.
        self._attempt(self._alone())
        return RolloutResult("rejected", reason=reason)

    def _reject(self, reason: str) -> RolloutResult:
        self._attempt(self._alone())
        return RolloutResult("rejected", reason=reason)

    def _alone(self, *, candidate: str | None = None, max_slowdown: float | None = None) -> DesiredState:
        """The running bundle as before, with nothing or with a candidate that answers nobody beside it."""
        return DesiredState(
            current=self.desired.current,
            previous=self.desired.previous,
            version=self.desired.version,
            serial=self._next(),
            candidate=candidate,
            max_slowdown=max_slowdown,
        )

    def _attempt(self, desired: DesiredState) -> tuple[Sequence[ReplicaStatus], str]:
        """What the replicas made of it, and why it failed; an empty string when all accepted it."""
        try:
            statuses = self._settle(desired)
        except LftError as error:
            self._keep(desired.serial)
            return (), error.message
        return statuses, rejection(statuses)

    def _settle(self, desired: DesiredState) -> Sequence[ReplicaStatus]:
        statuses = self._apply(desired)
        if rejection(statuses):
            self._keep(desired.serial)
        else:
            self.desired = desired
        return statuses

    def _keep(self, serial: int) -> None:
        # What is served stays, but the next desired state must be newer than the one that failed.
        self.desired = self.desired.model_copy(update={"serial": serial})

    def _next(self) -> int:
        # Of this process's clock, so that the desired states of one that came before are older.
        return max(self.desired.serial + 1, int(time.time() * 1000))
