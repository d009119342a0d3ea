"""The ledger of a run: one JSON file per trial, the single source of truth for resume, selection and reports.

In: the run folder. Out: `TrialRecord` and `StartedTrial` values, read and written atomically. A record is written
before the result is reported to Ray Tune or Optuna, so resume needs nothing but this folder, whichever process died.
Never unpickles, never computes costs.

    trials/<id>/started.json          configuration and attempt; written for the proposal and for each new attempt
    trials/<id>/result-<attempt>.json result of a worker; not written once a later attempt has started
    trials/<id>/record.json           how the trial ended; written once
    trials/<id>/failed-<attempt>.json the record of a failed trial that was told to run again
    trials/<id>/events.out.tfevents.* its curve for TensorBoard (`lft_ray.run.events`)
"""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from lft_ray.errors import DamagedFileError, InputError, LftWarning
from lft_ray.records import (
    CurvePoint,
    FrontPoint,
    Record,
    Role,
    Selection,
    TrialConfig,
    TrialRecord,
    TrialResult,
    TrialStatus,
)
from lft_ray.run.events import EventFile
from lft_ray.run.files import parse_record, read_record, write_record
from lft_ray.run.lock import DriverLock
from lft_ray.run.storage import Storage

__all__ = [
    "Allowance", "Ledger", "StartedTrial", "check_winner", "driver_lock", "put_result", "read_result", "superseded",
    "trial_order",
]  # fmt: skip

_FIX = "move its folder elsewhere to rerun the trial, or restore the file from a backup"
_SELECT_AGAIN = "restore both files from a backup, or delete selection.json: `lft search ... --resume` selects again"
_SAME_F1 = 1e-9
"""The selection copies the F1 of a record; only its way through JSON may change the last digit."""
_TRIAL_ID = re.compile(r"[a-z]+\d+")
PREFIX: dict[Role, str] = {"search": "t", "confirm": "c"}
AnyRecord = TypeVar("AnyRecord", bound=Record)


class Allowance(Record):
    """Usage limit of a trial, from the dollars reserved for it; the trial is stopped before it exceeds the limit."""

    core_s: float | None = None
    """Core-seconds of all attempts together; None: no limit."""
    device_s: float | None = None
    """Device-seconds of all attempts together; None: no limit."""
    used_core_s: float = 0.0
    """Upper bound of the usage by attempts whose worker died: usage after their last checkpoint was not measured."""
    used_device_s: float = 0.0
    """The same bound for device-seconds."""


class StartedTrial(Record):
    """A started trial: everything needed to run it again under the same id."""

    trial_id: str
    number: int
    """Position in the order of proposals of its role, from 0."""
    config: TrialConfig
    attempt: int = 1
    role: Role = "search"
    confirms: str = ""
    """Id of the trial that a fresh-seed run repeats; empty for search trials."""
    start: bool = False
    """True for the initial trials of a search (default hyperparameters, cheapest size first)."""
    allowance: Allowance | None = None
    """Usage limit of all attempts together; None without a budget."""
    lag: int = 1
    """Number of concurrent trials when the search began: proposal n is based on the trials up to n - lag."""
    started_at: str = ""


def trial_order(trial_id: str) -> tuple[str, int]:
    """Sort key of a trial id: prefix, then number (t1000 comes after t999)."""
    digits = trial_id.lstrip("abcdefghijklmnopqrstuvwxyz")
    return trial_id[: len(trial_id) - len(digits)], int(digits) if digits.isdecimal() else 0


def driver_lock(storage: Storage, log: Callable[[str], None] = lambda text: None) -> DriverLock:
    """Return a context manager that makes this process the only driver of a run.

    Args:
        storage: the run folder.
        log: told, in one sentence, why it takes long: a heartbeat of another host is being watched.

    Raises:
        InputError: on entry, if another live driver holds the lock; the message names its host:pid.
    """
    return DriverLock(storage, log)


def check_winner(selection: Selection | None, ledger: "Ledger") -> None:
    """Refuse a selection that is not about the trials of this run: what it says cannot be shown, nor shipped.

    Raises:
        DamagedFileError: a record of the winner is missing, or says something else than the selection.
    """
    if selection is None:
        return
    winner = selection.winner
    for trial_id, f1 in ((winner.trial_id, None), (selection.winner_seed_trial_id, selection.checkpoint_f1)):
        record, uri = ledger.get(trial_id), ledger.storage.uri_of(f"trials/{trial_id}/record.json")
        if record is None:
            raise DamagedFileError(
                f"{uri} is missing, and selection.json names this trial as the winner", fix=_SELECT_AGAIN
            )
        if problem := _differs(record, winner, f1):
            raise DamagedFileError(
                f"{ledger.storage.uri_of('selection.json')} does not belong to {uri}: {problem}", fix=_SELECT_AGAIN
            )


def _differs(record: TrialRecord, winner: FrontPoint, f1: float | None) -> str:
    """How a record contradicts the selection of which it is the winner; empty if it does not."""
    if record.status is not TrialStatus.DONE:
        return f"the selection ships it, its record says {record.status.value}"
    if record.config.model_size != winner.model_size:
        return f"the selection says {winner.model_size}, its record {record.config.model_size}"
    variant = record.variant(winner.precision, winner.max_length)
    if variant is None:
        return f"the selection says {winner.precision} at {winner.max_length} tokens, of which its record has no score"
    if f1 is not None and abs(variant.f1 - f1) > _SAME_F1:
        return f"the selection says an F1 of {f1:.6f}, its record {variant.f1:.6f}"
    return ""


def _result_name(trial_id: str, attempt: int) -> str:
    return f"trials/{trial_id}/result-{attempt}.json"


def superseded(run: Storage, trial_id: str, attempt: int) -> bool:
    """Whether a later attempt of a trial has started, so that this one no longer counts.

    A worker that was cut off from its driver asks this before it writes: its trial may be training elsewhere.

    Raises:
        OSError: the run folder cannot be read.
    """
    name = f"trials/{trial_id}/started.json"
    try:
        data = run.get(name)
    except FileNotFoundError:
        return False  # a trial without a ledger, such as one that is measured alone
    return parse_record(data, StartedTrial, run, name, fix=_FIX).attempt > attempt


def put_result(run: Storage, result: TrialResult) -> bool:
    """Write ``result-<attempt>.json``, unless a later attempt has started. Returns whether it was written.

    Args:
        run: the run folder.
        result: result of a worker.

    Raises:
        OSError: the run folder cannot be read or written.
    """
    if superseded(run, result.trial_id, result.attempt):
        return False
    write_record(run, _result_name(result.trial_id, result.attempt), result)
    return True


def read_result(run: Storage, trial_id: str, attempt: int) -> TrialResult | None:
    """Result that a worker wrote in this attempt, or None.

    Raises:
        DamagedFileError: the file cannot be read.
    """
    try:
        return read_record(run, _result_name(trial_id, attempt), TrialResult, fix=_FIX)
    except FileNotFoundError:
        return None


class Ledger:
    """Trials of one run. Reads the files once and caches them, because only the driver that holds the lock writes.

    Args:
        storage: the run folder.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._records: dict[str, TrialRecord] | None = None
        self._started: dict[str, StartedTrial] = {}
        self._events: dict[str, EventFile] = {}

    def records(self, role: Role | None = None) -> list[TrialRecord]:
        """Records of all ended trials, sorted by id.

        Args:
            role: only trials of this role; None: all.

        Raises:
            InputError: a file is damaged; the message names it.
        """
        # Copy first: proposals read the ledger from their own thread, while trials end in the thread of Ray Tune.
        found = list(self._load().values())
        return sorted((r for r in found if role in (None, r.role)), key=lambda r: trial_order(r.trial_id))

    def get(self, trial_id: str) -> TrialRecord | None:
        """Record of one trial, or None if it has not ended."""
        return self._load().get(trial_id)

    def ended(self, trial_id: str) -> TrialRecord:
        """Record of one ended trial.

        Raises:
            InputError: no trial of this id has ended; the message lists those that have.
        """
        record = self.get(trial_id)
        if record is None:
            known = ", ".join(r.trial_id for r in self.records()) or "none"
            raise InputError(f"no finished trial {trial_id!r}; finished trials: {known}")
        return record

    def started(self, role: Role | None = None) -> list[StartedTrial]:
        """All started trials, ended or not, sorted by id."""
        self._load()
        found = self._started.values()
        return sorted((s for s in found if role in (None, s.role)), key=lambda s: trial_order(s.trial_id))

    def unfinished(self, role: Role | None = None) -> list[StartedTrial]:
        """Started trials without a record; resume runs them again under the same id."""
        return [s for s in self.started(role) if self.get(s.trial_id) is None]

    def next_id(self, role: Role = "search") -> str:
        """Next free trial id: t000, t001, ... for the search, c000, ... for fresh-seed runs."""
        self._load()
        prefix = PREFIX[role]
        taken = [trial_order(i)[1] for i in {*self._load(), *self._started} if trial_order(i)[0] == prefix]
        return f"{prefix}{max(taken, default=-1) + 1:03d}"

    def start(self, trial: StartedTrial) -> None:
        """Write ``started.json``, also for each new attempt.

        Raises:
            InputError: the trial has already ended, or another driver has taken over the run.
        """
        self._refuse_if_ended(trial.trial_id)
        DriverLock.check_held(self.storage)
        write_record(self.storage, f"trials/{trial.trial_id}/started.json", trial)
        self._started[trial.trial_id] = trial
        self._events.pop(trial.trial_id, None)

    def note_curve(self, trial_id: str, curve: Sequence[CurvePoint]) -> None:
        """Show the curve of a running trial, so far, in its event file. Raises nothing."""
        if trial_id in self._started:
            self._event_file(self._started[trial_id]).show(curve)

    def put(self, record: TrialRecord) -> None:
        """Write ``record.json``. The trial is never run again after this.

        Raises:
            InputError: the trial already has a record, or another driver has taken over the run.
        """
        self._refuse_if_ended(record.trial_id)
        DriverLock.check_held(self.storage)
        write_record(self.storage, f"trials/{record.trial_id}/record.json", record)
        self._load()[record.trial_id] = record
        if (started := self._started.get(record.trial_id)) is not None:
            self._event_file(started).close(record)
            del self._events[record.trial_id]

    def result(self, trial_id: str, attempt: int) -> TrialResult | None:
        """Result that a worker wrote in this attempt, or None."""
        return read_result(self.storage, trial_id, attempt)

    def adopt(self, price: Callable[[TrialResult, StartedTrial], TrialRecord]) -> list[TrialRecord]:
        """Write records for results whose driver died before it could write them. Returns the new records.

        Args:
            price: function that turns a result into a record, such as `lft_ray.search.budget.pricing.Pricing.record`.
        """
        adopted = []
        for trial in self.unfinished():
            result = self._newest_result(trial)
            # A result "stopped" by the deadline of the dead driver is final too: it was reported as such.
            if result is not None:
                record = price(result, trial)
                self.put(record)
                adopted.append(record)
        return adopted

    def reopen_failed(self) -> list[TrialRecord]:
        """Take back the records of failed trials, so that a resume runs them again. Returns those records.

        Each is kept as ``failed-<attempt>.json``, and what it used stays charged to the trial.
        """
        reopened = []
        for record in self.records():
            if record.status is not TrialStatus.FAILED or record.trial_id not in self._started:
                continue
            DriverLock.check_held(self.storage)
            trial = self.storage.child("trials", record.trial_id)
            attempt = max(record.attempt, self._started[record.trial_id].attempt)
            # In this order: killed between two lines, the trial still has its record, and is reopened the next time.
            trial.put(f"failed-{attempt}.json", record.model_dump_json(indent=1))
            trial.delete_file(f"result-{attempt}.json")
            trial.delete_file("record.json")
            del self._load()[record.trial_id]
            reopened.append(record)
        return reopened

    def failed_before(self, trial_id: str) -> list[TrialRecord]:
        """Records of earlier failures of a trial that was told to run again, oldest first."""
        self._load()
        attempts = range(1, self._started[trial_id].attempt + 1 if trial_id in self._started else 1)
        found = [self._read(f"trials/{trial_id}/failed-{attempt}.json", TrialRecord) for attempt in attempts]
        return [record for record in found if record is not None]

    def _event_file(self, trial: StartedTrial) -> EventFile:
        if trial.trial_id not in self._events:
            folder = self.storage.child("trials", trial.trial_id)
            self._events[trial.trial_id] = EventFile(folder, trial.trial_id, trial.attempt, trial.started_at)
        return self._events[trial.trial_id]

    def _newest_result(self, trial: StartedTrial) -> TrialResult | None:
        """The result that ends a trial: a finished one of any attempt, else that of the latest attempt.

        A failure of an earlier attempt was the reason for the later one, or was written by a worker that had been cut
        off: the latest attempt continues from its checkpoint instead.
        """
        attempts = range(trial.attempt, 0, -1)
        found = [r for a in attempts if (r := self.result(trial.trial_id, a)) is not None]
        final = [r for r in found if r.status is not TrialStatus.FAILED or r.attempt == trial.attempt]
        return next((r for r in final if r.status is TrialStatus.DONE), final[0] if final else None)

    def _refuse_if_ended(self, trial_id: str) -> None:
        path = f"trials/{trial_id}/record.json"
        if trial_id in self._load() or self.storage.exists(path):
            raise InputError(
                f"trial {trial_id} already has a record ({self.storage.uri_of(path)}); a finished trial is never rerun",
                fix="resume the run instead of starting it again",
            )

    def _load(self) -> dict[str, TrialRecord]:
        if self._records is None:
            records: dict[str, TrialRecord] = {}
            for trial_id in self._folders():
                if (record := self._read(f"trials/{trial_id}/record.json", TrialRecord)) is not None:
                    self._check_own(trial_id, record.trial_id, "record.json")
                    records[trial_id] = record
                if (started := self._read(f"trials/{trial_id}/started.json", StartedTrial)) is not None:
                    self._check_own(trial_id, started.trial_id, "started.json")
                    self._started[trial_id] = started
            self._records = records
        return self._records

    def _folders(self) -> list[str]:
        """Trial ids by the names of the folders. A copy that somebody made beside them is no trial, which is told."""
        names = self.storage.folders("trials")
        for name in names:
            if not _TRIAL_ID.fullmatch(name) and self.storage.exists(f"trials/{name}/record.json"):
                warnings.warn(
                    LftWarning(f"{self.storage.uri_of(f'trials/{name}')} is ignored: its name is no trial id"),
                    stacklevel=2,
                )
        return [name for name in names if _TRIAL_ID.fullmatch(name)]

    def _check_own(self, folder: str, trial_id: str, file: str) -> None:
        """Refuse a file of another trial, which would count twice and hide the trial whose place it takes."""
        if folder != trial_id:
            raise DamagedFileError(
                f"{self.storage.uri_of(f'trials/{folder}/{file}')} is that of trial {trial_id}, not of {folder}",
                fix=_FIX,
            )

    def _read(self, name: str, kind: type[AnyRecord]) -> AnyRecord | None:
        try:
            return read_record(self.storage, name, kind, fix=_FIX)
        except FileNotFoundError:
            return None
