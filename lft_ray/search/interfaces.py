"""The plan of a study, and the interfaces to its proposer and its listener. Values and protocols only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lft_ray.cost.budget import Budget
from lft_ray.records import CurvePoint, Role, TrialConfig, TrialRecord
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.stopping.base import StopRule

__all__ = ["Listener", "NullListener", "ProposerProtocol", "Queued", "StudyPlan"]


class ProposerProtocol(Protocol):
    """The part of `lft_ray.search.samplers.proposer.Proposer` that the dispatcher calls."""

    def warm_up(self) -> None:
        """Import and compile what the first proposal needs. Called once, in the proposer's thread."""

    def propose(
        self,
        n: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal, or None when no configuration is left to try."""


class Listener(Protocol):
    """Receives the events of every trial, for example to draw the live table."""

    def on_budget(self, budget: Budget) -> None:
        """Called before the first trial with the study's budget, which is updated as trials start and end."""

    def on_start(self, trial: StartedTrial) -> None:
        """A trial was started or restarted (``attempt`` above 1)."""

    def on_placed(self, trial_id: str) -> None:
        """A worker is there for a started trial, which waited for its resources until now."""

    def on_note(self, text: str) -> None:
        """Something happened to a trial that the user should know: a worker was killed, memory ran out."""

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """A running trial was evaluated."""

    def on_record(self, record: TrialRecord) -> None:
        """A trial ended, and its record is in the ledger."""


class NullListener:
    """A listener that ignores all events."""

    def on_budget(self, budget: Budget) -> None:
        """Ignore the event."""

    def on_start(self, trial: StartedTrial) -> None:
        """Ignore the event."""

    def on_placed(self, trial_id: str) -> None:
        """Ignore the event."""

    def on_note(self, text: str) -> None:
        """Ignore the event."""

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """Ignore the event."""

    def on_record(self, record: TrialRecord) -> None:
        """Ignore the event."""


def _unknown(config: TrialConfig) -> float:
    raise LookupError(f"the plan has a stop rule, but no known_cost for {config.model_size}")


def _no_memory(config: TrialConfig) -> float:
    del config
    return 0.0


@dataclass(frozen=True, slots=True)
class Queued:
    """A configuration to run unchanged: a start trial, or a finalist with a fresh seed (``confirms``: its trial ID)."""

    config: TrialConfig
    confirms: str = ""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The trials of a study.

    Attributes:
        queue: configurations to run first, in order.
        trials: total number of trials, including the queue and earlier sessions.
        slots: number of trials in parallel.
        role: search, or confirm (then only the queue is run).
        is_deterministic: proposal n sees exactly the trials up to n - slots, so that equal seeds give equal trials.
        cores_per_trial: CPU cores that a trial reserves; lost seconds of a dead worker are charged at this rate.
        devices_per_trial: accelerators that a trial reserves, charged likewise.
        rule: early-stopping rule, called at each point of a search trial's curve but the last; None: no early stopping.
        known_cost: dollars per million predictions of a configuration's cheapest admitted variant, for the rule.
        memory_bytes: rough memory of a configuration's trial; orders trials by it, and stands in for a measured peak.
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
    memory_bytes: Callable[[TrialConfig], float] = _no_memory

    def remaining_queue(self, started: Sequence[StartedTrial]) -> list[Queued]:
        """The queue without the configurations that earlier sessions started."""
        known = {(trial.config, trial.confirms) for trial in started}
        return [queued for queued in self.queue if (queued.config, queued.confirms) not in known]
