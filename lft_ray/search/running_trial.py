"""State of one running trial in the dispatcher: learning curve, timestamps, charged usage. A clock, but no Ray."""

import bisect
import time
from dataclasses import dataclass, field

from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Allowance, StartedTrial

__all__ = ["RunningTrial", "unfinished_result"]


@dataclass(slots=True)
class RunningTrial:
    """A running trial.

    Attributes:
        trial: the started trial, with its current attempt.
        free_since: when the slot became free, in seconds since the epoch like all times here.
        begun_at: when the first attempt of this session was handed out.
        cores: number of CPU cores reserved.
        devices: number of accelerators reserved.
        curve: evaluated points, one per fraction, in the order of the schedule.
        training_at: when a worker began training.
        has_died: whether a worker died in this session; its usage since the last checkpoint is in no result.
    """

    trial: StartedTrial
    free_since: float
    begun_at: float
    cores: float = 1.0
    devices: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    training_at: float | None = None
    has_died: bool = False

    def note(self, point: CurvePoint) -> None:
        """Add a point. A restarted worker repeats points, so points at the same or a later fraction are dropped."""
        self.curve = [*self.curve[: bisect.bisect_left(self.curve, point.fraction, key=lambda p: p.fraction)], point]

    @property
    def held_s(self) -> float:
        """Wall seconds for which the trial has held its cores."""
        return time.time() - (self.training_at or self.begun_at)

    def charged(self) -> Usage:
        """Upper bound on the usage of a worker that reported none: all reserved cores for the whole time."""
        wall_s = self.held_s
        return Usage(core_s=wall_s * self.cores, device_s=wall_s * self.devices, wall_s=wall_s)

    def with_lost(self, usage: Usage) -> Usage:
        """A result's usage plus the seconds lost with dead workers, which no result contains."""
        lost_s = max(0.0, self.held_s - usage.wall_s)
        return usage.replace(
            core_s=usage.core_s + lost_s * self.cores,
            device_s=usage.device_s + lost_s * self.devices,
            wall_s=usage.wall_s + lost_s,
        )

    def allowance_left(self) -> Allowance | None:
        """The trial's allowance minus what earlier attempts may have used; None: no limit."""
        if self.trial.allowance is None:
            return None
        used = self.charged()
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
