"""The truth about a run: one JSON object per trial, and one driver at a time.

In: the run folder. Out: `TrialRecord` and `StartedTrial` values, read or put atomically. A record is put before Ray
Tune or Optuna hear of the result: whatever dies, resume needs nothing but this folder. Never unpickles, never prices.

    trials/<id>/started.json          what was asked for (written when it is proposed, again for each new attempt)
    trials/<id>/result-<attempt>.json what a worker measured
    trials/<id>/record.json           how it ended; written once
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from lft_ray.errors import InputError, first_problem
from lft_ray.records import Record, Role, TrialConfig, TrialRecord, TrialResult, TrialStatus
from lft_ray.run.lock import DriverLock
from lft_ray.run.storage import Storage

__all__ = ["Allowance", "Ledger", "StartedTrial", "driver_lock", "trial_order"]

PREFIX: dict[Role, str] = {"search": "t", "confirm": "c"}
AnyRecord = TypeVar("AnyRecord", bound=Record)


class Allowance(Record):
    """What a trial's promised dollars buy: it is stopped before it uses up more."""

    core_s: float | None = None
    """Of all attempts together; None: not limited."""
    device_s: float | None = None
    used_core_s: float = 0.0
    """At most used by attempts whose worker died: what they did after their last save is in no measurement."""
    used_device_s: float = 0.0


class StartedTrial(Record):
    """What a trial was started with: enough to run it again under the same id."""

    trial_id: str
    number: int
    """Position in its role's order of proposals, from 0."""
    config: TrialConfig
    attempt: int = 1
    role: Role = "search"
    confirms: str = ""
    start: bool = False
    allowance: Allowance | None = None
    """What its promised dollars buy, all attempts together; None without a budget."""
    lag: int = 1
    """Trials at a time when the search began: proposal n is made from the trials up to n - lag."""
    started_at: str = ""


def trial_order(trial_id: str) -> tuple[str, int]:
    """Sort key of a trial id: letters first, then the number (t1000 comes after t999)."""
    digits = trial_id.lstrip("abcdefghijklmnopqrstuvwxyz")
    return trial_id[: len(trial_id) - len(digits)], int(digits) if digits.isdigit() else 0


def driver_lock(storage: Storage) -> DriverLock:
    """Context manager that makes this process the only driver of a run.

    Raises:
        InputError: on entry, when a living driver holds the run; the message names its host:pid.
    """
    return DriverLock(storage)


class Ledger:
    """Trials of one run. Reads once, then keeps what it has read: only the driver that holds the lock writes.

    Args:
        storage: the run folder.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._records: dict[str, TrialRecord] | None = None
        self._started: dict[str, StartedTrial] = {}

    def records(self, role: Role | None = None) -> list[TrialRecord]:
        """All ended trials, oldest id first.

        Raises:
            InputError: a file is damaged; the message names it.
        """
        # A copy first: a proposal asks from its own thread, while trials end in Tune's.
        found = list(self._load().values())
        return sorted((r for r in found if role in (None, r.role)), key=lambda r: trial_order(r.trial_id))

    def get(self, trial_id: str) -> TrialRecord | None:
        """The record of one trial, or None while it has not ended."""
        return self._load().get(trial_id)

    def ended(self, trial_id: str) -> TrialRecord:
        """The record of one trial.

        Raises:
            InputError: no trial of this id has ended; the message names those that have.
        """
        record = self.get(trial_id)
        if record is None:
            known = ", ".join(r.trial_id for r in self.records()) or "none"
            raise InputError(f"no finished trial {trial_id!r}; there are {known}")
        return record

    def started(self, role: Role | None = None) -> list[StartedTrial]:
        """All trials that were ever started, ended or not, oldest id first."""
        self._load()
        found = self._started.values()
        return sorted((s for s in found if role in (None, s.role)), key=lambda s: trial_order(s.trial_id))

    def unfinished(self, role: Role | None = None) -> list[StartedTrial]:
        """Trials that were started and have no record: resume runs them again under the same id."""
        return [s for s in self.started(role) if self.get(s.trial_id) is None]

    def next_id(self, role: Role = "search") -> str:
        """The next free id: t000, t001, ... for the search, c000, ... for fresh-seed runs."""
        self._load()
        prefix = PREFIX[role]
        taken = [trial_order(i)[1] for i in {*self._load(), *self._started} if trial_order(i)[0] == prefix]
        return f"{prefix}{max(taken, default=-1) + 1:03d}"

    def start(self, trial: StartedTrial) -> None:
        """Put ``started.json`` (again, for a new attempt).

        Raises:
            InputError: the trial has ended already, or another driver has taken the run over.
        """
        self._refuse_if_ended(trial.trial_id)
        DriverLock.check_held(self.storage)
        self.storage.put(f"trials/{trial.trial_id}/started.json", trial.model_dump_json(indent=1))
        self._started[trial.trial_id] = trial

    def put(self, record: TrialRecord) -> None:
        """Put ``record.json``. After this the trial is never run again.

        Raises:
            InputError: the trial has a record already, or another driver has taken the run over.
        """
        self._refuse_if_ended(record.trial_id)
        DriverLock.check_held(self.storage)
        self.storage.put(f"trials/{record.trial_id}/record.json", record.model_dump_json(indent=1))
        self._load()[record.trial_id] = record

    def result(self, trial_id: str, attempt: int) -> TrialResult | None:
        """What a worker wrote in this attempt, or None."""
        return self._read(f"trials/{trial_id}/result-{attempt}.json", TrialResult)

    def adopt(self, price: Callable[[TrialResult, StartedTrial], TrialRecord]) -> list[TrialRecord]:
        """Make records of results that a dead driver did not live to write. Returns the new ones.

        Args:
            price: turns a result into a record, such as `lft_ray.search.budget.pricing.Pricing.record`.
        """
        adopted = []
        for trial in self.unfinished():
            result = self._newest_result(trial)
            # "stopped" by a deadline of the dead driver is an end, too: it was reported as such.
            if result is not None:
                record = price(result, trial)
                self.put(record)
                adopted.append(record)
        return adopted

    def _newest_result(self, trial: StartedTrial) -> TrialResult | None:
        attempts = range(trial.attempt, 0, -1)
        found = [r for a in attempts if (r := self.result(trial.trial_id, a)) is not None]
        return next((r for r in found if r.status is TrialStatus.DONE), found[0] if found else None)

    def _refuse_if_ended(self, trial_id: str) -> None:
        path = f"trials/{trial_id}/record.json"
        if trial_id in self._load() or self.storage.exists(path):
            raise InputError(
                f"trial {trial_id} has a record already ({self.storage.uri_of(path)}); a finished trial is never rerun",
                fix="resume the run instead of starting it again",
            )

    def _load(self) -> dict[str, TrialRecord]:
        if self._records is None:
            records: dict[str, TrialRecord] = {}
            for trial_id in self.storage.folders("trials"):
                if (record := self._read(f"trials/{trial_id}/record.json", TrialRecord)) is not None:
                    records[trial_id] = record
                if (started := self._read(f"trials/{trial_id}/started.json", StartedTrial)) is not None:
                    self._started[trial_id] = started
            self._records = records
        return self._records

    def _read(self, name: str, kind: type[AnyRecord]) -> AnyRecord | None:
        try:
            data = self.storage.get(name)
        except FileNotFoundError:
            return None
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            raise InputError(
                f"{self.storage.uri_of(name)} is damaged or of another version: {first_problem(error)} "
                f"({len(data)} bytes)",
                fix="move its folder away to have the trial run again, or restore the file from a backup",
            ) from None
