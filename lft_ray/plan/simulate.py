"""Simulate a search to estimate how many trials fit the budget and what they cost. Pure, with a simulated clock.

In: admission control of the study, start trials, search space. Out: `SearchSimulation` with started and refused trials.
Every trial takes its predicted time and cost; uniform draws replace the sampler.
"""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lft_ray.records import ScoredVariant, TrialConfig, TrialRecord, TrialStatus, Usage
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.samplers.teachers import Teachers, or_in_full
from lft_ray.search.space import SearchSpace

__all__ = ["SearchSimulation"]

DRAWS = 64
"""Random configurations tried before the simulation decides that none fits the limits."""


@dataclass(order=True, slots=True)
class _Running:
    ends_s: float
    trial_id: str
    config: TrialConfig = field(compare=False)
    status: TrialStatus = field(compare=False)
    usage: Usage = field(compare=False)
    usd: float = field(compare=False)


class SearchSimulation:
    """A discrete-event simulation of one search.

    Args:
        admission: admission control of a study that has spent nothing; its clock is replaced.
        teachers: assigns teachers to distilled trials.
        ended: list to which ended trials are added; the admission reads it.
        queue: start trials, in order.
        space: search space of the later trials.
        trials: total number of trials.
        slots: number of trials in parallel.
        seed: seed of the random draws.
    """

    def __init__(  # noqa: PLR0913 - keyword-only inputs of the simulation
        self,
        admission: BudgetAdmission,
        teachers: Teachers,
        ended: list[TrialRecord],
        *,
        queue: Sequence[TrialConfig],
        space: SearchSpace,
        trials: int,
        slots: int,
        seed: int = 0,
    ) -> None:
        self.started: list[TrialConfig] = []
        self.refused: dict[str, str] = {}
        """Model size -> why its start trial did not start."""
        self.stopped = 0
        """Number of trials stopped at the deadline."""
        self.ended_s = 0.0
        """Seconds from the start of the search to the end of its last trial."""
        self._admission = admission
        self._teachers = teachers
        self._ended = ended
        self._queue = list(queue)
        self._space = space
        self._trials = trials
        self._slots = slots
        self._rng = random.Random(seed)
        self._running: list[_Running] = []
        self._now_s = 0.0
        admission.clock = lambda: self._now_s

    @property
    def spent_usd(self) -> float:
        """Dollars of the ended trials."""
        return self._admission.budget.spent_usd

    def run(self) -> "SearchSimulation":
        """Simulate the search to its end."""
        while len(self.started) < self._trials:
            if len(self._running) < self._slots and self._start_one():
                continue
            if self._running:
                self._end_one()
            elif self._queue:
                config = self._queue.pop(0)
                self.refused[config.model_size] = self._admission.verdict(config, "search").reason
            else:
                break
        while self._running:
            self._end_one()
        return self

    def _start_one(self) -> bool:
        config = self._queue[0] if self._queue else self._draw()
        if config is None or not self._admission.verdict(config, "search"):
            return False
        if self._queue:
            self._queue.pop(0)
        trial_id = f"t{len(self.started):03d}"
        self._admission.reserve(trial_id, config, "search")
        heapq.heappush(self._running, self._run(trial_id, config))
        self.started.append(config)
        return True

    def _draw(self) -> TrialConfig | None:
        for _ in range(0 if self._space.is_empty else DRAWS):
            for config in or_in_full(self._space.draw(self._rng)):
                assigned = self._teachers.assign(config, self._ended)
                if assigned is not None and self._admission.verdict(assigned, "search"):
                    return assigned
        return None

    def _run(self, trial_id: str, config: TrialConfig) -> _Running:
        usage, usd = self._admission.expected(config), self._admission.expected_usd(config)
        ends_s, deadline_s = self._now_s + usage.wall_s, self._admission.budget.deadline_s("search")
        if deadline_s is None or ends_s <= deadline_s:
            return _Running(ends_s, trial_id, config, TrialStatus.DONE, usage, usd)
        share = (deadline_s - self._now_s) / usage.wall_s
        return _Running(deadline_s, trial_id, config, TrialStatus.STOPPED, Usage(), usd * share)

    def _end_one(self) -> None:
        ended = heapq.heappop(self._running)
        self._now_s = self.ended_s = ended.ends_s
        self.stopped += ended.status is TrialStatus.STOPPED
        usd = self._teachers.cost(ended.config.model_size)
        # There are no scores here, but teachers are chosen by F1: assume that a more expensive size scores higher.
        guess = ScoredVariant(precision="", max_length=ended.config.max_length, f1=usd / (1.0 + usd))
        record = TrialRecord(
            trial_id=ended.trial_id,
            attempt=1,
            config=ended.config,
            status=ended.status,
            usage=ended.usage,
            variants=[guess],
            training_usd=ended.usd,
        )
        self._ended.append(record)
        self._admission.settle(record)
