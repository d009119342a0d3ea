"""Dollars and minutes of a study: what is spent, promised and left. Pure bookkeeping; the caller brings the clock.

Promise: a trial starts only if spent + reserved + what is kept for confirmation runs + its own worst case fits, and
only if it is predicted to finish before the deadline of its role.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lft_ray.records import Role, TrialRecord

__all__ = ["Budget", "Verdict"]

TOLERANCE_USD = 1e-12


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trial may start, and why not."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


class Budget:
    """What a study may still spend.

    Args:
        budget_usd: training dollars, retries counted; None: no limit.
        minutes: wall minutes from ``started_s`` to the decision; None: no limit.
        confirmation_fraction: share of both that search trials leave for runs of the finalists with fresh seeds.
        started_s: when the first trial began, in seconds on the caller's clock (any, as long as it is one clock).
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
        """Dollars of settled trials."""
        return sum(self._spent.values())

    @property
    def reserved_usd(self) -> float:
        """Worst case of all running trials."""
        # A copy, made in one step: the live table asks from its own thread while trials start and end.
        return sum(usd for _, usd in list(self._reserved.values()))

    @property
    def kept_for_confirmation_usd(self) -> float:
        """Dollars that search trials may not touch: the share, less what confirmation runs have used of it."""
        if self.budget_usd is None:
            return 0.0
        used = self._spent["confirm"] + sum(usd for role, usd in list(self._reserved.values()) if role == "confirm")
        return max(0.0, self.confirmation_fraction * self.budget_usd - used)

    def left_usd(self, role: Role = "search") -> float | None:
        """Dollars that a new trial of this role may cost at worst; None: no limit."""
        if self.budget_usd is None:
            return None
        kept = self.kept_for_confirmation_usd if role == "search" else 0.0
        return max(0.0, self.budget_usd - self.spent_usd - self.reserved_usd - kept)

    def deadline_s(self, role: Role = "search") -> float | None:
        """When trials of this role end as stopped, on the caller's clock; None: never."""
        if self.minutes is None:
            return None
        share = 1.0 - self.confirmation_fraction if role == "search" else 1.0
        return self.started_s + self.minutes * 60.0 * share

    def can_start(self, worst_usd: float, wall_s: float | None, *, now_s: float, role: Role = "search") -> Verdict:
        """Whether a trial may start now.

        Args:
            worst_usd: its worst case in dollars, retries counted.
            wall_s: predicted wall seconds to its end. None while nothing is measured: then it starts if the deadline
                is not over, since a guess must not forbid the first measurement; the deadline would stop it.
            now_s: the caller's clock.
            role: confirmation runs may use what is kept for them.
        """
        left = self.left_usd(role)
        if left is not None and worst_usd > left + TOLERANCE_USD:
            return Verdict(False, f"its worst case of ${worst_usd:.4f} does not fit the ${left:.4f} that are left")
        deadline = self.deadline_s(role)
        if deadline is not None and now_s + (wall_s or 0.0) >= deadline:
            if now_s >= deadline:
                return Verdict(False, "the time for it is over")
            return Verdict(False, f"it needs {wall_s or 0.0:.0f} s and {deadline - now_s:.0f} s are left")
        return Verdict(True)

    def reserve(self, trial_id: str, worst_usd: float, *, role: Role = "search") -> None:
        """Promise a running trial its worst case. Reserving again replaces the promise."""
        self._reserved[trial_id] = (role, worst_usd)

    def settle(self, trial_id: str, usd: float, *, role: Role = "search") -> None:
        """Turn a promise into what the trial did cost, however it ended."""
        promised_role, _ = self._reserved.pop(trial_id, (role, 0.0))
        self._spent[promised_role] += usd

    def settle_records(self, records: Iterable[TrialRecord]) -> None:
        """Count trials of an earlier session: what they cost stays spent after a resume."""
        for record in records:
            self.settle(record.trial_id, record.training_usd, role=record.role)
