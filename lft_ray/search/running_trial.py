"""State of one running trial in the dispatcher: learning curve, timestamps, charged usage, deaths. No Ray."""

import bisect
import time
from dataclasses import dataclass, field

from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Allowance, StartedTrial

__all__ = ["RunningTrial", "unfinished_result"]


NOTE_INTERVAL_S = 5.0
"""A worker records its usage this often (`USAGE_EVERY_S` of the training loop): a dead one lost no more than that."""


@dataclass(slots=True)
class RunningTrial:
    """A running trial, or one that the machine ended and that is to run again.

    Attributes:
        trial: the started trial, with its current attempt.
        free_since: when the slot became free, in seconds since the epoch like all times here.
        begun_at: when the current attempt was handed out.
        cores: number of CPU cores reserved.
        devices: number of accelerators reserved.
        curve: evaluated points, one per fraction, in the order of the schedule.
        placed_at: when a worker was there for the current attempt.
        training_at: when a worker began training the current attempt.
        noted_before: what sessions before the current attempt had recorded.
        lost: usage of dead workers since they last recorded theirs, which is in no result.
        deaths: how often its worker died, other than with its node.
        stalls: how often the storage did not answer.
        is_alone: whether nothing else may run beside it.
        not_before: when it may run again.
    """

    trial: StartedTrial
    free_since: float
    begun_at: float
    cores: float = 1.0
    devices: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    placed_at: float | None = None
    training_at: float | None = None
    noted_before: Usage = field(default_factory=Usage)
    lost: Usage = field(default_factory=Usage)
    deaths: int = 0
    stalls: int = 0
    is_alone: bool = False
    not_before: float = 0.0

    def note(self, point: CurvePoint) -> None:
        """Add a point. A restarted worker repeats points, so points at the same or a later fraction are dropped."""
        self.curve = [*self.curve[: bisect.bisect_left(self.curve, point.fraction, key=lambda p: p.fraction)], point]

    @property
    def held_s(self) -> float:
        """Wall seconds for which the current attempt has held its cores."""
        return time.time() - (self.training_at or self.placed_at or self.begun_at)

    def charged(self, noted: Usage | None) -> Usage:
        """Usage of a worker that left no result: what it recorded, and what it may have used since.

        Args:
            noted: what all sessions of the trial have recorded; None: nothing. Then the attempt is charged with all its
                cores for the whole time, which is an upper bound.
        """
        recorded = noted or Usage()
        own_s = max(0.0, recorded.wall_s - self.noted_before.wall_s)
        gap_s = max(0.0, self.held_s - own_s)
        # A worker that has recorded something does so again every few seconds. A device is held all the while.
        core_gap_s = min(gap_s, NOTE_INTERVAL_S) if own_s > 0 else gap_s
        return recorded.replace(
            core_s=recorded.core_s + self.lost.core_s + core_gap_s * self.cores,
            device_s=recorded.device_s + self.lost.device_s + gap_s * self.devices,
            wall_s=recorded.wall_s + self.lost.wall_s + gap_s,
        )

    def with_lost(self, usage: Usage) -> Usage:
        """A result's usage, which includes what earlier sessions recorded, plus what dead workers did not record."""
        return usage.replace(
            core_s=usage.core_s + self.lost.core_s,
            device_s=usage.device_s + self.lost.device_s,
            wall_s=usage.wall_s + self.lost.wall_s,
        )

    def lose(self, noted: Usage | None) -> None:
        """Count what the current attempt, whose worker is gone, used without recording it."""
        recorded, charged = noted or Usage(), self.charged(noted)
        self.lost = Usage(
            core_s=charged.core_s - recorded.core_s,
            device_s=charged.device_s - recorded.device_s,
            wall_s=charged.wall_s - recorded.wall_s,
        )
        self.noted_before = recorded
        self.placed_at = self.training_at = None

    def allowance_left(self) -> Allowance | None:
        """The trial's allowance minus what earlier attempts may have used; None: no limit. Call it after `lose`."""
        if self.trial.allowance is None:
            return None
        used = self.with_lost(self.noted_before)
        return self.trial.allowance.replace(used_core_s=used.core_s, used_device_s=used.device_s)

    def overhead_s(self, ended_at: float) -> float:
        """Wall seconds in which the slot was not training; ``ended_at``: when the worker finished; 0: unknown."""
        before = max(0.0, (self.training_at or self.begun_at) - self.free_since)
        after = max(0.0, time.time() - ended_at) if ended_at else 0.0
        return round(before + after, 4)


def unfinished_result(
    trial: StartedTrial,
    status: TrialStatus,
    reason: str,
    curve: list[CurvePoint],
    usage: Usage,
) -> TrialResult:
    """The result of a trial whose worker did not write one."""
    return TrialResult(
        trial_id=trial.trial_id,
        attempt=trial.attempt,
        config=trial.config,
        status=status,
        reason=reason,
        curve=curve,
        usage=usage,
        started_at=trial.started_at,
    )
