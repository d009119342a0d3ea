"""Dollars and minutes of a study: spent, reserved and remaining. Pure bookkeeping; the caller supplies the clock.

In: worst-case and actual costs of trials. Out: whether a trial may start. Never lets a trial start unless spent +
reserved + the reserve for confirmation runs + its own worst case fit the budget, and it is predicted to finish before
the deadline of its role.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lft_ray.records import Role, TrialRecord

__all__ = ["Budget", "Verdict"]

TOLERANCE_USD = 1e-12
"""Rounding error allowed when a worst case equals the remaining budget."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trial may start, and if not, why."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


class Budget:
    """Budget of a study.

    Args:
        budget_usd: training dollars, retries included; None: no limit.
        minutes: wall-clock minutes from ``started_s`` to the decision; None: no limit.
        confirmation_fraction: share of both that is reserved for confirmation runs (finalists with new seeds).
        started_s: start of the first trial, in seconds on the caller's clock (always the same clock).
    """

    def __init__(
        self,
        *,
        budget_usd: float | None = None,
        minutes: float | None = None,
        confirmation_fraction: float = 0.0,
        started_s: float = 0.0,
    ) -> None:
        self.budget_usd = budget_usd
        self.minutes = minutes
        self.confirmation_fraction = confirmation_fraction
        self.started_s = started_s
        self._spent: dict[Role, float] = {"search": 0.0, "confirm": 0.0}
        self._reserved: dict[str, tuple[Role, float]] = {}

    @property
    def spent_usd(self) -> float:
        """Dollars spent by settled trials."""
        return sum(self._spent.values())

    @property
    def reserved_usd(self) -> float:
        """Worst-case dollars of all running trials."""
        # Copied in one step: the live table reads this from its own thread while trials start and end.
        return sum(usd for _, usd in list(self._reserved.values()))

    @property
    def confirmation_reserve_usd(self) -> float:
        """Dollars that search trials may not use: the confirmation share, less what confirmation runs have used."""
        if self.budget_usd is None:
            return 0.0
        used = self._spent["confirm"] + sum(usd for role, usd in list(self._reserved.values()) if role == "confirm")
        return max(0.0, self.confirmation_fraction * self.budget_usd - used)

    def left_usd(self, role: Role = "search") -> float | None:
        """Dollars available to a new trial of this role; None: no limit."""
        if self.budget_usd is None:
            return None
        reserve = self.confirmation_reserve_usd if role == "search" else 0.0
        return max(0.0, self.budget_usd - self.spent_usd - self.reserved_usd - reserve)

    def deadline_s(self, role: Role = "search") -> float | None:
        """Time at which trials of this role are stopped, on the caller's clock; None: never."""
        if self.minutes is None:
            return None
        share = 1.0 - self.confirmation_fraction if role == "search" else 1.0
        return self.started_s + self.minutes * 60.0 * share

    def can_start(self, worst_usd: float, wall_s: float | None, *, now_s: float, role: Role = "search") -> Verdict:
        """Whether a trial may start now.

        Args:
            worst_usd: worst-case cost in dollars, retries included.
            wall_s: predicted wall-clock seconds to completion. None before anything is measured: the trial may then
                start until the deadline, since a guess must not forbid the first measurement; the deadline stops it.
            now_s: current time on the caller's clock.
            role: role of the trial; only confirmation runs may use the confirmation reserve.
        """
        left = self.left_usd(role)
        if left is not None and worst_usd > left + TOLERANCE_USD:
            return Verdict(False, f"worst-case cost ${worst_usd:.4g} exceeds the remaining budget ${left:.4g}")
        deadline = self.deadline_s(role)
        if deadline is not None and now_s + (wall_s or 0.0) >= deadline:
            if now_s >= deadline:
                return Verdict(False, "deadline reached")
            return Verdict(
                False, f"predicted to take {wall_s or 0.0:.0f} s, with {deadline - now_s:.0f} s left until the deadline"
            )
        return Verdict(True)

    def reserve(self, trial_id: str, worst_usd: float, *, role: Role = "search") -> None:
        """Reserve the worst case of a running trial, replacing an earlier reservation of the same trial."""
        self._reserved[trial_id] = (role, worst_usd)

    def settle(self, trial_id: str, usd: float, *, role: Role = "search") -> None:
        """Replace the reservation of a trial by its actual cost, however the trial ended."""
        reserved_role, _ = self._reserved.pop(trial_id, (role, 0.0))
        self._spent[reserved_role] += usd

    def settle_records(self, records: Iterable[TrialRecord]) -> None:
        """Add trials of an earlier session: their cost remains spent after a resume."""
        for record in records:
            self.settle(record.trial_id, record.training_usd, role=record.role)
