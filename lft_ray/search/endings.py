"""What follows when the machine ends a trial: it runs again, alone if memory was short, or the study stops. No Ray.

In: a `Fault` and the running trial. Out: a `Verdict`. A trial is written down as failed only for its configuration, or
after it died `MAX_FAILURES` + 1 times, or alone for lack of memory; losses of nodes never count.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lft_ray.causes import EndCause, Fault, cause_of_text, error_of, full_place
from lft_ray.cluster.memory import OomWatch, memory_there
from lft_ray.records import TrialConfig
from lft_ray.search.budget.admission import MAX_FAILURES
from lft_ray.search.crowding import Crowding, out_of_memory_text
from lft_ray.search.running_trial import RunningTrial

__all__ = ["Endings", "Verdict"]

MAX_STALLS = 3
"""Restarts of a trial after its storage did not answer. A worker has retried for a minute by then."""
STALL_S = 20.0
"""Pause before such a restart."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a trial that the machine ended."""

    action: Literal["again", "failed"]
    cause: EndCause
    text: str
    """What happened, in one line."""


@dataclass(slots=True)
class Endings:
    """Decides on ended trials of one study.

    Attributes:
        place: the run folder, whose disk is looked at when a worker dies without a word.
        memory_bytes: rough memory of a configuration's trial.
        oom_kills: number of kills for lack of memory since the last call; None where workers run on other machines.
        there_bytes: memory of this machine or container.
        crowding: how many trials fit side by side, learnt from those that died.
    """

    place: str
    memory_bytes: Callable[[TrialConfig], float]
    oom_kills: Callable[[], int] | None = None
    there_bytes: float | None = None
    crowding: Crowding = field(default_factory=Crowding)
    _kills_left: int = 0

    @classmethod
    def on_this_machine(cls, place: str, memory_bytes: Callable[[TrialConfig], float]) -> "Endings":
        """For workers on this machine, whose kernel says when it killed one."""
        return cls(place, memory_bytes, OomWatch().look, memory_there())

    def diagnose(self, reason: str) -> Fault:
        """The fault behind the words with which Ray reports a dead worker.

        Ray's words do not tell a kill for lack of memory from any other, so the kernel's counter is read as well; and
        a worker that wrote to a mapped file on a full disk died of a signal too.
        """
        cause = cause_of_text(reason)
        if cause is EndCause.WORKER_KILLED or (cause is EndCause.CONFIGURATION and not reason):
            if self._oom_killed():
                return Fault(cause=EndCause.OUT_OF_MEMORY, message="killed by the kernel for lack of memory")
            if full := full_place(self.place):
                return Fault(cause=EndCause.DISK_FULL, message="its worker died, and the disk is full", path=full)
        return Fault(cause=cause, message=reason or "its worker died")

    def _oom_killed(self) -> bool:
        if self.oom_kills is None:
            return False
        # Two trials that were killed together are reported one after the other.
        self._kills_left += self.oom_kills()
        self._kills_left, was_killed = max(0, self._kills_left - 1), self._kills_left > 0
        return was_killed

    def judge(self, fault: Fault, live: RunningTrial, others: Sequence[RunningTrial], peak_bytes: float) -> Verdict:
        """Whether a trial runs again.

        Args:
            fault: what ended it.
            live: the trial; its counts and ``is_alone`` are updated.
            others: trials that ran beside it.
            peak_bytes: the most memory that one of these workers recorded; 0: unknown.

        Raises:
            StorageError: a disk fails: every other trial would meet the same.
            UnreachableError: the storage did not answer for `MAX_STALLS` restarts.
        """
        name = f"{live.trial.trial_id} {live.trial.config.model_size}"
        match fault.cause:
            case cause if cause.stops_study:
                raise error_of(fault)
            case EndCause.NODE_LOST:
                return Verdict("again", fault.cause, f"{name}: its node was lost; it goes on elsewhere")
            case EndCause.STORAGE_UNREACHABLE:
                live.stalls += 1
                if live.stalls > MAX_STALLS:
                    raise error_of(fault)
                live.not_before = time.time() + STALL_S
                return Verdict("again", fault.cause, f"{name}: the storage did not answer; it goes on in {STALL_S:g} s")
            case EndCause.OUT_OF_MEMORY:
                return self._short_of_memory(name, live, others, peak_bytes)
        live.deaths += 1
        if live.deaths > MAX_FAILURES:
            return Verdict("failed", fault.cause, f"{fault.message} (attempt {live.trial.attempt})")
        live.is_alone = fault.cause is EndCause.WORKER_KILLED
        then = "it runs again, alone" if live.is_alone and others else "it runs again"
        what = "its worker was killed" if fault.cause is EndCause.WORKER_KILLED else fault.message
        return Verdict("again", fault.cause, f"{name}: {what}; {then}")

    def _short_of_memory(
        self, name: str, live: RunningTrial, others: Sequence[RunningTrial], peak_bytes: float
    ) -> Verdict:
        need = self.memory_bytes(live.trial.config)
        largest = max([need, *(self.memory_bytes(other.trial.config) for other in others)])
        text = out_of_memory_text(1 + len(others), peak_bytes or largest, self.there_bytes)
        live.deaths += 1
        was_alone, live.is_alone = live.is_alone and not others, True
        if others:
            self.crowding.learn(need, 1 + len(others))
        if was_alone or live.deaths > MAX_FAILURES:
            text = f"{text}; it does not fit even alone" if was_alone else text
            return Verdict("failed", EndCause.OUT_OF_MEMORY, f"{text} (attempt {live.trial.attempt})")
        return Verdict("again", EndCause.OUT_OF_MEMORY, f"{name}: {text}; it runs again, alone")
