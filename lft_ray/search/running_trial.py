"""One running trial as the dispatcher sees it: its curve, its times, what it is charged. Values and a clock; no Ray."""

import bisect
import time
from dataclasses import dataclass, field

from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Allowance, StartedTrial

__all__ = ["RunningTrial", "unfinished_result"]


@dataclass(slots=True)
class RunningTrial:
    """A trial that runs now.

    Attributes:
        trial: with the attempt that runs.
        free_since: when its slot became free, in seconds since the epoch like all times here.
        begun_at: when its first attempt of this session was handed out.
        cores: processor cores that it holds.
        devices: accelerators that it holds.
        curve: its points, one a fraction, in the order of the schedule.
        training_at: when a worker began with it.
        has_died: a worker died with it in this session: what that one used since its last save is in no result.
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
        """Add a point. A worker that was started again repeats some: then those after it are still to come, too."""
        self.curve = [*self.curve[: bisect.bisect_left(self.curve, point.fraction, key=lambda p: p.fraction)], point]

    @property
    def held_s(self) -> float:
        """Wall seconds that it has held its cores for."""
        return time.time() - (self.training_at or self.begun_at)

    def charged(self) -> Usage:
        """What a worker that left no account may have used: all its cores for as long as it had them."""
        wall_s = self.held_s
        return Usage(core_s=wall_s * self.cores, device_s=wall_s * self.devices, wall_s=wall_s)

    def with_lost(self, usage: Usage) -> Usage:
        """A result's usage, and the seconds that dead workers took with them: no result accounts for those."""
        lost_s = max(0.0, self.held_s - usage.wall_s)
        return usage.replace(
            core_s=usage.core_s + lost_s * self.cores,
            device_s=usage.device_s + lost_s * self.devices,
            wall_s=usage.wall_s + lost_s,
        )

    def allowance_left(self) -> Allowance | None:
        """The trial's allowance with what its attempts so far may have used; None: no limit."""
        if self.trial.allowance is None:
            return None
        used = self.charged()
        return self.trial.allowance.replace(used_core_s=used.core_s, used_device_s=used.device_s)

    def overhead_s(self, ended_at: float) -> float:
        """Wall seconds in which its slot did not train; ``ended_at``: when the worker was done, 0 if it did not say."""
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
    """The result of a trial whose worker wrote none."""
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
