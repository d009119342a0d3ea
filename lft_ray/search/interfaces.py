"""What a study is told to run, and who is told how it goes. Values and protocols only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lft_ray.cost.budget import Budget
from lft_ray.records import CurvePoint, Role, TrialConfig, TrialRecord
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.stopping.base import StopRule

__all__ = ["Listener", "NullListener", "ProposerProtocol", "Queued", "StudyPlan"]


class ProposerProtocol(Protocol):
    """What the dispatcher needs of `lft_ray.search.samplers.proposer.Proposer`."""

    def warm_up(self) -> None:
        """Load what the first proposal will need. Called once, in the thread that proposes."""

    def propose(
        self,
        n: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """The n-th proposal, or None when nothing is left to try."""


class Listener(Protocol):
    """Told of every trial as it goes: the live table."""

    def on_budget(self, budget: Budget) -> None:
        """The study's dollars and minutes, before its first trial; they change as trials start and end."""

    def on_start(self, trial: StartedTrial) -> None:
        """A trial was started, or started again (``attempt`` above 1)."""

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """A running trial was evaluated."""

    def on_record(self, record: TrialRecord) -> None:
        """A trial ended, and its record is in the ledger."""


class NullListener:
    """A listener that says nothing."""

    def on_budget(self, budget: Budget) -> None:
        """Say nothing."""

    def on_start(self, trial: StartedTrial) -> None:
        """Say nothing."""

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """Say nothing."""

    def on_record(self, record: TrialRecord) -> None:
        """Say nothing."""


def _unknown(config: TrialConfig) -> float:
    raise LookupError(f"the plan has a stop rule and no known_cost for {config.model_size}")


@dataclass(frozen=True, slots=True)
class Queued:
    """A configuration that is run as it is: a start trial, or a finalist with a fresh seed."""

    config: TrialConfig
    confirms: str = ""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What to run.

    Attributes:
        queue: configurations that come first, in order.
        trials: how many in all, the queue and earlier sessions included.
        slots: trials at a time.
        role: search, or confirm (then only the queue is run).
        is_deterministic: proposal n sees exactly the trials up to n - slots, so that equal seeds give equal trials.
        cores_per_trial: cores a trial holds: what a dead worker's seconds are charged with.
        devices_per_trial: accelerators a trial holds, for the same.
        rule: asked at each point of a search trial's curve but the last; None: every trial runs to its end.
        known_cost: dollars per million predictions of a configuration's cheapest admitted variant, for the rule.
    """

    queue: tuple[Queued, ...]
    trials: int
    slots: int
    role: Role = "search"
    is_deterministic: bool = True
    cores_per_trial: float = 1.0
    devices_per_trial: float = 0.0
    rule: StopRule | None = None
    known_cost: Callable[[TrialConfig], float] = _unknown

    def left_of_queue(self, started: Sequence[StartedTrial]) -> list[Queued]:
        """The queue without what earlier sessions started."""
        known = {(trial.config, trial.confirms) for trial in started}
        return [queued for queued in self.queue if (queued.config, queued.confirms) not in known]
