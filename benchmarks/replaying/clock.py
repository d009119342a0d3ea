"""Simulated workers and clock: an event queue over recorded curves. In: a table, a method. Out: ended trials.

A method decides which trial starts next and which is stopped early. Proposals take no simulated time; the method
measures their real time.
"""

import heapq
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from lft_ray.records import CurvePoint, TrialConfig

from .table import Curve, Table

__all__ = ["Ended", "History", "Method", "Started", "replay"]


@dataclass(frozen=True, slots=True)
class Started:
    """A trial that a method starts."""

    trial_id: str
    config: TrialConfig


class Method(Protocol):
    """The subject of a replay: a searcher and a scheduler."""

    suggestion_s: list[float]
    """CPU seconds of each proposal, without start trials."""

    def next(self) -> Started | Literal["wait", "finished"]:
        """The trial for a free worker; ``wait`` until another trial ends; ``finished`` if no more trials start."""

    def point(self, trial_id: str, point: CurvePoint) -> str:
        """Observe a point of a running trial. Returns why the trial is stopped here; empty: it continues."""

    def end(self, trial_id: str, curve: Curve, *, points: int, reason: str) -> None:
        """Observe the end of a trial after ``points`` points; ``reason`` is empty unless it was stopped."""

    def close(self) -> None:
        """Shut down threads and processes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended trial."""

    trial_id: str
    config: TrialConfig
    at_s: float
    """Simulated seconds."""
    spent_usd: float
    """Dollars of the whole search so far, including running trials."""
    usd: float
    """Dollars of this trial."""
    f1: float
    """F1 at its last point."""
    full_f1: float
    """F1 at the end of its schedule if it had not been stopped."""
    seed: int
    """Recorded seed that was drawn for this visit."""
    is_done: bool
    """Whether it produced a model."""
    reason: str = ""
    """Why it was stopped."""
    interpolated: bool = False


@dataclass(slots=True)
class History:
    """One replay."""

    ended: list[Ended] = field(default_factory=list)
    suggestion_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Live:
    started: Started
    curve: Curve
    begun_s: float


class _Workers:
    """Running trials, and dollars spent so far."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.seed = table, seed
        self.live: dict[str, _Live] = {}
        self.charged_usd = 0.0
        self._visits: dict[TrialConfig, int] = {}

    def spent_usd(self, now_s: float) -> float:
        """Dollars of ended trials, and of running trials so far."""
        return self.charged_usd + sum(run.curve.usd_at(now_s - run.begun_s) for run in self.live.values())

    def begin(self, started: Started, now_s: float) -> Curve:
        """Start a trial with a recorded seed, drawn without replacement while there are unused ones."""
        key = started.config.model_copy(update={"seed": 0})
        order = self.table.visit_order(key, self.seed)
        count = self._visits.get(key, 0)
        self._visits[key] = count + 1
        curve = self.table.curve(key, order[count % len(order)])
        self.live[started.trial_id] = _Live(started, curve, now_s)
        return curve


def replay(table: Table, method: Method, *, seed: int, budget_usd: float, workers: int = 2) -> History:
    """Run a method until its training dollars are spent.

    Args:
        table: recorded curves.
        method: a new instance.
        seed: determines which recorded seeds are drawn; equal for all compared methods.
        budget_usd: the replay ends when this much is spent.
        workers: number of trials in parallel, each on one core.
    """
    pool = _Workers(table, seed)
    history = History(suggestion_s=method.suggestion_s)
    events: list[tuple[float, int, str, int]] = []
    order, now_s = 0, 0.0
    try:
        while True:
            while len(pool.live) < workers and isinstance(started := method.next(), Started):
                curve = pool.begin(started, now_s)
                order += 1
                heapq.heappush(events, (now_s + curve.train_s[0], order, started.trial_id, 0))
            if not events:
                return history
            now_s, _, trial_id, index = heapq.heappop(events)
            if pool.spent_usd(now_s) > budget_usd:
                return history
            run = pool.live[trial_id]
            is_last = index + 1 == len(run.curve.f1)
            reason = method.point(trial_id, _point(run.curve, index))
            if is_last or reason:
                reason = "" if is_last else reason
                history.ended.append(_end(pool, run, index, now_s, reason))
                method.end(trial_id, run.curve, points=index + 1, reason=reason)
            else:
                order += 1
                heapq.heappush(events, (run.begun_s + run.curve.train_s[index + 1], order, trial_id, index + 1))
    finally:
        method.close()


def _end(pool: _Workers, run: _Live, index: int, now_s: float, reason: str) -> Ended:
    spent = pool.spent_usd(now_s)
    del pool.live[run.started.trial_id]
    pool.charged_usd += float(run.curve.usd[index])
    return Ended(
        trial_id=run.started.trial_id,
        config=run.started.config,
        at_s=now_s,
        spent_usd=spent,
        usd=float(run.curve.usd[index]),
        f1=float(run.curve.f1[index]),
        full_f1=float(run.curve.f1[-1]),
        seed=run.curve.seed,
        is_done=run.curve.is_done and not reason,
        reason=reason,
        interpolated=run.curve.interpolated,
    )


def _point(curve: Curve, index: int) -> CurvePoint:
    return CurvePoint(
        fraction=float(np.round(curve.fractions[index], 6)),
        f1=float(curve.f1[index]),
        loss=float(curve.loss[index]),
        train_s=float(curve.train_s[index]),
        step=index,
    )
