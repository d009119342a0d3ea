"""Admission control: check dollars and minutes before every trial start. Pure except for the clock passed in.

In: `Budget`, `Forecast`, `Price`. Out: a `Verdict` with the reason of a refusal. A trial starts only if its worst-case
cost, including retries, fits the budget in addition to spent, reserved and confirmation dollars, and if it should end
in time.
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
"""Maximum restarts of a trial after its worker died."""
WALL_MARGIN = 1.1
"""A trial starts only if this multiple of its predicted seconds is left: a trial stopped at the deadline is wasted,
and trials running in parallel on two cores took up to a fifth longer than alone."""


class Admission(Protocol):
    """Called by the dispatcher before each start and after each end of a trial."""

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether a trial of this configuration may start now."""

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> Allowance | None:
        """Reserve a trial's worst-case cost. Returns the resources it pays for; None if dollars are not limited."""

    def settle(self, record: TrialRecord) -> None:
        """Replace the reservation by the trial's actual cost."""


class AlwaysAdmit:
    """Admission without limits."""

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Always admitted."""
        del config, role
        return Verdict(True)

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> None:
        """Reserve nothing."""
        del trial_id, config, role

    def settle(self, record: TrialRecord) -> None:
        """Count nothing."""


@dataclass(slots=True)
class BudgetAdmission:
    """Admission against the dollars and minutes of one study.

    Attributes:
        budget: spent, reserved and remaining dollars; its clock is seconds since the epoch.
        forecast: predicts usage; updated with every finished trial.
        price: dollars per second.
        work: FLOPs of a whole trial of a configuration.
        device: key of the forecast's rates for a configuration (``cpu``, ``cuda``, ``linear``).
        retries: maximum restarts of a trial after its worker died.
        lost_s: wall seconds that one worker failure can cost: the checkpoint interval and a cold start.
        clock: seconds since the epoch.
        worst_case_work: worst-case FLOPs, if a trial may have to recompute shared activations; default ``work``.
    """

    budget: Budget
    forecast: Forecast
    price: Price
    work: Callable[[TrialConfig], float]
    device: Callable[[TrialConfig], str]
    retries: int = 2
    lost_s: float = 40.0
    clock: Callable[[], float] = field(default=time.time)
    worst_case_work: Callable[[TrialConfig], float] | None = None
    # Proposals check the budget in their own thread, while trials settle in Tune's.
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def verdict(self, config: TrialConfig, role: Role) -> Verdict:
        """Whether the worst-case cost fits the dollars and the predicted time fits the minutes."""
        device = self.device(config)
        with self._lock:
            wall_s = self.expected(config).wall_s
            # The rate of an unmeasured device is a guess and must not block its first trial; the deadline can.
            predicted = WALL_MARGIN * wall_s if self.forecast.is_measured(device) else None
            return self.budget.can_start(self.worst_usd(config), predicted, now_s=self.clock(), role=role)

    def reserve(self, trial_id: str, config: TrialConfig, role: Role) -> Allowance | None:
        """Reserve the worst case. With a budget this is also a hard limit, since the forecast may be wrong."""
        with self._lock:
            worst_usd = self.worst_usd(config)
            self.budget.reserve(trial_id, worst_usd, role=role)
        return None if self.budget.budget_usd is None else allowance(worst_usd, self.price)

    def settle(self, record: TrialRecord) -> None:
        """Book the dollars, and update the forecast with the usage of a finished trial."""
        with self._lock:
            self.budget.settle(record.trial_id, record.training_usd, role=record.role)
            work, device = self.work(record.config), self.device(record.config)
            if record.status is TrialStatus.DONE:
                # After early stopping count only the completed share of the work, or later trials would look too cheap.
                self.forecast.observe(work * schedule_share(record), record.usage, device=device)
            else:
                self.forecast.observe_unfinished(work, record.usage, device=device)

    def expected(self, config: TrialConfig) -> Usage:
        """Predicted usage of a trial that runs to completion without retries."""
        with self._lock:
            return self.forecast.predict(self.work(config), device=self.device(config))

    def expected_usd(self, config: TrialConfig, *, uses_measured: bool = True) -> float:
        """Predicted dollars of a trial that runs to completion without retries.

        Args:
            config: configuration of the trial.
            uses_measured: whether to use measured seconds of finished trials; otherwise only FLOPs and default rates.
        """
        if uses_measured:
            return training_usd(self.expected(config), self.price)
        return training_usd(Forecast().predict(self.work(config), device=self.device(config)), self.price)

    def worst_usd(self, config: TrialConfig) -> float:
        """Worst-case dollars of a trial including retries: the amount that a start reserves."""
        work = self.work if self.worst_case_work is None else self.worst_case_work
        worst = self.forecast.worst_case(
            work(config), device=self.device(config), retries=self.retries, lost_s=self.lost_s
        )
        return training_usd(worst, self.price)
