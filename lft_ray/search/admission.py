"""May this trial start? Dollars and minutes, asked before every start. Pure but for the clock that is passed in.

In: `Budget`, `Forecast`, `Price`. Out: yes, or the reason why not. A trial starts only if its worst case, retries
counted, still fits beside what is spent, promised and kept for confirmation runs, and if it should end in time.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lft_ray.cost.base import Price
from lft_ray.cost.budget import Budget, Verdict
from lft_ray.cost.forecast import Forecast
from lft_ray.cost.training import training_usd
from lft_ray.ledger import Role
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus

__all__ = ["Admission", "AlwaysAdmit", "BudgetAdmission"]


WALL_MARGIN = 1.1
"""A trial must have this many times its predicted seconds left: one that the deadline stops is paid for nothing, and
trials beside each other on two cores were seen to take up to a fifth longer than alone."""


class Admission(Protocol):
    """What the dispatcher asks before a start, and tells after an end."""

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether a trial of this configuration may start now."""

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> None:
        """Promise a starting trial its worst case."""

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
    # A proposal asks what fits from its own thread, while trials settle in Tune's.
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether the worst case fits the dollars and the prediction fits the minutes."""
        device = self.device(config)
        with self._lock:
            wall_s = self.forecast.predict(self.work(config), device=device).wall_s
            # A guess must not forbid the first measurement of a device; the deadline would stop that trial.
            predicted = WALL_MARGIN * wall_s if self.forecast.is_measured(device) else None
            return self.budget.can_start(self._worst_usd(config), predicted, now_s=self.clock(), role=role)

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> None:
        """Promise the worst case."""
        with self._lock:
            self.budget.reserve(trial_id, self._worst_usd(config), role=role)

    def settle(self, record: TrialRecord) -> None:
        """Count the dollars; learn from the usage of a trial that ran to its end."""
        with self._lock:
            self.budget.settle(record.trial_id, record.training_usd, role=record.role)
            if record.status is TrialStatus.DONE:
                self.forecast.observe(self.work(record.config), record.usage, device=self.device(record.config))

    def expected_usd(self, config: TrialConfig, *, uses_measured: bool = True) -> float:
        """Predicted dollars of a trial that runs to its end, without retries.

        Args:
            config: of the trial.
            uses_measured: from the seconds of finished trials; else from FLOPs and the stated rates alone.
        """
        with self._lock:
            forecast = self.forecast if uses_measured else Forecast()
            return training_usd(forecast.predict(self.work(config), device=self.device(config)), self.price)

    def _worst_usd(self, config: TrialConfig) -> float:
        worst = self.forecast.worst_case(
            self.work(config), device=self.device(config), retries=self.retries, lost_s=self.lost_s
        )
        return training_usd(worst, self.price)
