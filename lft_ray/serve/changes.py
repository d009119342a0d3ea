"""How an endpoint comes to serve another bundle: beside the old one, perhaps with a share of the traffic, then alone.

In: bundle URIs, and two callables that reach the replicas. Out: a `Change`. Knows no Ray, no files and no clock but the
one it is given. A replica that starts at any moment opens a bundle that has answered before: a candidate becomes
``current`` only when every replica has accepted it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lft_ray.config import RolloutSpec
from lft_ray.delivery import CanaryRecord
from lft_ray.errors import LftError
from lft_ray.serve.canary import Verdict, drift, verdict
from lft_ray.serve.tally import Tally, merged
from lft_ray.serve.wish import Wish

__all__ = ["Change", "Changes", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the replicas say about a wish."""

    version: str
    """The version that all of them answer with; the versions joined by commas if they differ."""
    reason: str
    """Why at least one of them rejected the wish; empty when all accepted it."""
    replicas: int
    candidate_version: str = ""
    """The version of the candidate that they hold."""


@dataclass(frozen=True, slots=True)
class Change:
    """What came of an order, or of a look at the canary."""

    kind: Literal["promoted", "rejected", "canary"]
    outcome: Outcome
    canary: CanaryRecord | None = None

    @property
    def reason(self) -> str:
        """Why it was rejected."""
        return self.outcome.reason


@dataclass(slots=True)
class _Trial:
    """The canary that runs."""

    uri: str
    version: str
    rules: RolloutSpec
    began: float
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Replica -> its latest tallies. One that died keeps what it had counted."""

    def tallies(self) -> tuple[Tally, Tally]:
        parts = [tallies for tallies in self.seen.values() if tallies]
        return tuple(merged(Tally.of(part[side]) for part in parts) for side in ("current", "candidate"))  # type: ignore[return-value]

    def record(self, now: float, note: str = "", *, running: bool = True) -> CanaryRecord:
        current, candidate = self.tallies()
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


class Changes:
    """The bundle of one endpoint, and its changes.

    Args:
        apply: makes replicas take a wish and says what they made of it; may raise `LftError`.
        survey: the state of every running replica, by its name.
        wish: what is served now; None before `begin`.
        clock: seconds.
    """

    def __init__(
        self,
        apply: Callable[[Wish], Outcome],
        survey: Callable[[], dict[str, dict[str, Any]]],
        *,
        wish: Wish | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apply, self._survey, self._clock = apply, survey, clock
        self.wish = wish or Wish("")
        self._trial: _Trial | None = None

    @property
    def candidate(self) -> str | None:
        """URI of the bundle that a canary tries."""
        return self._trial.uri if self._trial else None

    def begin(self, uri: str) -> Outcome:
        """The first bundle: there is nothing to compare it with."""
        return self._settle(Wish(uri, serial=self._next()))

    def promote(self, uri: str, rules: RolloutSpec) -> Change:
        """Let every replica open a bundle beside the running one and compare; then a canary, or the swap.

        A canary that still runs is ended first.
        """
        self.drop()
        self._trial = None
        offered = replace(self.wish, candidate=uri, share=0.0, max_slowdown=rules.max_slowdown, serial=self._next())
        outcome = self._attempt(offered)
        if outcome.reason:
            return self._reject(outcome)
        if not rules.canary_share:
            return self._accept(uri)
        outcome = self._attempt(replace(offered, share=rules.canary_share, serial=self._next()))
        if outcome.reason:
            return self._reject(outcome)
        self._trial = _Trial(uri, outcome.candidate_version, rules, self._clock())
        return Change("canary", outcome, self._trial.record(self._clock()))

    def rollback(self) -> Change:
        """End a canary that runs; without one, go back to the bundle before. Nothing is compared: it has served."""
        if self._trial is not None:
            return self._end_canary("it was rolled back by hand")
        if self.wish.previous is None:
            return Change("rejected", Outcome("", "there is no earlier bundle to go back to", 0))
        return self._accept(self.wish.previous)

    def look(self) -> Change | None:
        """Look at the canary, and end it where its time is up or it does harm. None: no canary."""
        trial = self._trial
        if trial is None:
            return None
        trial.seen |= {name: state["tallies"] for name, state in self._survey().items() if self._is_of_now(state)}
        now = self._clock()
        found = verdict(*trial.tallies(), trial.rules, time_is_up=now - trial.began >= trial.rules.canary_minutes * 60)
        if found.action == "wait":
            return Change("canary", Outcome("", "", 0), trial.record(now, found.reason))
        return self._decide(trial, found, now)

    def drop(self) -> None:
        """Let the replicas go back to the running bundle alone, if they hold another."""
        if self.wish.candidate is not None:
            self._attempt(replace(self.wish, candidate=None, share=0.0, max_slowdown=None, serial=self._next()))

    def _decide(self, trial: _Trial, found: Verdict, now: float) -> Change:
        if found.action == "rollback":
            return self._end_canary(found.reason)
        self._trial = None
        change = self._accept(trial.uri)
        return replace(change, canary=trial.record(now, change.reason or "promoted", running=False))

    def _end_canary(self, reason: str) -> Change:
        trial, self._trial = self._trial, None
        assert trial is not None  # both callers have looked
        record = trial.record(self._clock(), reason, running=False)
        return replace(self._reject(Outcome(trial.version, reason, 0)), canary=record)

    def _accept(self, uri: str) -> Change:
        old = self.wish
        outcome = self._attempt(Wish(uri, previous=old.current, serial=self._next()))
        if not outcome.reason:
            return Change("promoted", outcome)
        # A replica that starts later must not try the bad bundle first, and one that took it must let it go.
        self._attempt(Wish(old.current, old.previous, old.version, serial=self._next()))
        return Change("rejected", outcome)

    def _reject(self, outcome: Outcome) -> Change:
        back = replace(self.wish, candidate=None, share=0.0, max_slowdown=None, serial=self._next())
        self._attempt(back)
        return Change("rejected", outcome)

    def _attempt(self, wish: Wish) -> Outcome:
        try:
            return self._settle(wish)
        except LftError as error:
            self.wish = replace(self.wish, serial=wish.serial)
            return Outcome("", error.message, 0)

    def _settle(self, wish: Wish) -> Outcome:
        outcome = self._apply(wish)
        self.wish = replace(self.wish, serial=wish.serial) if outcome.reason else wish
        return outcome

    def _is_of_now(self, state: dict[str, Any]) -> bool:
        return bool(state["serial"] == self.wish.serial)

    def _next(self) -> int:
        # Of this process's clock, so that the wishes of one that came before are older.
        return max(self.wish.serial + 1, int(time.time() * 1000))
