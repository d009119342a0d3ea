"""One running trial as the dispatcher sees it: its curve, its times, what it is charged. Values and a clock; no Ray."""

import bisect
import time
from dataclasses import dataclass, field

from lft_ray.ledger import StartedTrial
from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage

__all__ = ["Live", "unfinished_result"]


@dataclass(slots=True)
class Live:
    """A trial that runs now.

    Attributes:
        trial: with the attempt that runs.
        free_since: when its slot became free, in seconds since the epoch like all times here.
        begun_at: when its first attempt of this session was handed out.
        curve: its points, one a fraction, in the order of the schedule.
        training_at: when a worker began with it.
    """

    trial: StartedTrial
    free_since: float
    begun_at: float
    curve: list[CurvePoint] = field(default_factory=list)
    training_at: float | None = None

    def note(self, point: CurvePoint) -> None:
        """Add a point. A worker that was started again repeats some: then those after it are still to come, too."""
        self.curve = [*self.curve[: bisect.bisect_left(self.curve, point.fraction, key=lambda p: p.fraction)], point]

    def charged(self, cores: float) -> Usage:
        """What a worker that left no account may have used: all its cores for as long as it had them."""
        wall_s = time.time() - (self.training_at or self.begun_at)
        return Usage(core_s=wall_s * cores, wall_s=wall_s)

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
