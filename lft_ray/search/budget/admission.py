"""May this trial start? Dollars and minutes, asked before every start. Pure but for the clock that is passed in.

In: `Budget`, `Forecast`, `Price`. Out: yes, or the reason why not. A trial starts only if its worst case, retries
counted, still fits beside what is spent, promised and kept for confirmation runs, and if it should end in time.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lft_ray.cost.budget import Budget, Verdict
from lft_ray.cost.dollars import allowance, training_usd
from lft_ray.cost.forecast import Forecast, schedule_share
from lft_ray.cost.prices import Price
from lft_ray.records import Role, TrialConfig, TrialRecord, TrialStatus, Usage
from lft_ray.run.ledger import Allowance

__all__ = ["MAX_FAILURES", "Admission", "AlwaysAdmit", "BudgetAdmission"]

MAX_FAILURES = 2
"""How often a trial is started again after its worker died."""


WALL_MARGIN = 1.1
"""A trial must have this many times its predicted seconds left: one that the deadline stops is paid for nothing, and
trials beside each other on two cores were seen to take up to a fifth longer than alone."""


class Admission(Protocol):
    """What the dispatcher asks before a start, and tells after an end."""

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether a trial of this configuration may start now."""

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> Allowance | None:
        """Promise a starting trial its worst case. Returns what that buys; None where dollars are not limited."""

    def settle(self, record: TrialRecord) -> None:
        """Turn the promise into what the trial did use."""


class AlwaysAdmit:
    """No limits."""

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Yes."""
        del config, role
        return Verdict(True)

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> None:
        """Nothing to promise."""
        del trial_id, config, role

    def settle(self, record: TrialRecord) -> None:
        """Nothing to count."""


@dataclass(slots=True)
class BudgetAdmission:
    """Dollars and minutes of one study.

    Attributes:
        budget: what is spent, promised and left; its clock is seconds since the epoch.
        forecast: learns from every finished trial.
        price: dollars per second.
        work: FLOPs of a whole trial of a configuration.
        device: key of the forecast's rates for a configuration (``cpu``, ``cuda``, ``linear``).
        most_work: FLOPs at worst, where a trial may have to make again what it would share; ``work`` when left out.
        retries: how often a trial may be started again after its worker died.
        lost_s: wall seconds that one such death can cost: the checkpoint interval and a cold start.
        clock: seconds since the epoch.
    """

    budget: Budget
    forecast: Forecast
    price: Price
    work: Callable[[TrialConfig], float]
    device: Callable[[TrialConfig], str]
    retries: int = 2
    lost_s: float = 40.0
    clock: Callable[[], float] = field(default=time.time)
    most_work: Callable[[TrialConfig], float] | None = None
    # A proposal asks what fits from its own thread, while trials settle in Tune's.
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether the worst case fits the dollars and the prediction fits the minutes."""
        device = self.device(config)
        with self._lock:
            wall_s = self.expected(config).wall_s
            # A guess must not forbid the first measurement of a device; the deadline would stop that trial.
            predicted = WALL_MARGIN * wall_s if self.forecast.is_measured(device) else None
            return self.budget.can_start(self.worst_usd(config), predicted, now_s=self.clock(), role=role)

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> Allowance | None:
        """Promise the worst case. With a budget a trial may use what that buys and not more: it is but a forecast."""
        with self._lock:
            worst_usd = self.worst_usd(config)
            self.budget.reserve(trial_id, worst_usd, role=role)
        return None if self.budget.budget_usd is None else allowance(worst_usd, self.price)

    def settle(self, record: TrialRecord) -> None:
        """Count the dollars; learn from the usage of a trial that ran to its end."""
        with self._lock:
            self.budget.settle(record.trial_id, record.training_usd, role=record.role)
            work, device = self.work(record.config), self.device(record.config)
            if record.status is TrialStatus.DONE:
                # Of one that ended itself, the share of the work that it did: else every later one looked cheap.
                self.forecast.observe(work * schedule_share(record), record.usage, device=device)
            else:
                self.forecast.observe_unfinished(work, record.usage, device=device)

    def expected(self, config: TrialConfig) -> Usage:
        """Predicted usage of a trial that runs to its end, without retries."""
        with self._lock:
            return self.forecast.predict(self.work(config), device=self.device(config))

    def expected_usd(self, config: TrialConfig, *, uses_measured: bool = True) -> float:
        """Predicted dollars of a trial that runs to its end, without retries.

        Args:
            config: of the trial.
            uses_measured: from the seconds of finished trials; else from FLOPs and the stated rates alone.
        """
        if uses_measured:
            return training_usd(self.expected(config), self.price)
        return training_usd(Forecast().predict(self.work(config), device=self.device(config)), self.price)

    def worst_usd(self, config: TrialConfig) -> float:
        """Most that a trial is expected to cost, retries counted: what a start promises."""
        work = self.work if self.most_work is None else self.most_work
        worst = self.forecast.worst_case(
            work(config), device=self.device(config), retries=self.retries, lost_s=self.lost_s
        )
        return training_usd(worst, self.price)
