"""A thin Ray Tune `Searcher`: takes trials from the dispatcher and reports their ends to it.

Imports Ray, so only `lft_ray.search.tune` imports it. Has no persistent state: the copies that Tune pickles are empty.
"""

from typing import Any

from ray.tune.search import Searcher

from lft_ray.causes import Fault
from lft_ray.records import TrialResult
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.tune.trainable import BEGAN, ENDED, FAULT, RESULT, TRIAL

__all__ = ["StudySearcher"]


class StudySearcher(Searcher):
    """Passes the dispatcher's trials to Tune.

    Tune turns an exception in ``on_trial_complete`` into a failure of the trial and reruns it, so errors (a full disk,
    a lost lock) are stored in ``fatal``, and the study raises them.

    Args:
        dispatcher: decides which trials run.
        first: a trial that the dispatcher has already started.
    """

    def __init__(self, dispatcher: Dispatcher, first: StartedTrial | None = None) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.fatal: BaseException | None = None
        self._first = first
        self._ledger_ids: dict[str, str] = {}
        """Tune's trial ID -> ID in the ledger."""
        self._tune_ids: dict[str, str] = {}
        """ID in the ledger -> Tune's ID of its latest attempt."""
        self._reasons: dict[str, str] = {}
        self._stops: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Tune's configuration of the next trial; None to wait, FINISHED when no more trials start."""
        if self.fatal is not None:
            return str(Searcher.FINISHED)
        trial = self._first or self.dispatcher.next()
        self._first = None
        if isinstance(trial, StartedTrial):
            self._ledger_ids[trial_id] = trial.trial_id
            self._tune_ids[trial.trial_id] = trial_id
            return {TRIAL: trial.model_dump(mode="json")}
        # After FINISHED Tune never asks again, and a trial that runs may yet have to run again.
        return str(Searcher.FINISHED) if trial == "finished" and self.dispatcher.is_over else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: curve points go through the scheduler, which may stop the trial."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write the record, before anything else observes the end of the trial."""
        ledger_id = self._ledger_ids[trial_id]
        result = result or {}
        try:
            if error and ledger_id not in self._stops:
                self.dispatcher.interrupted(ledger_id, self.dispatcher.diagnose(self._reasons.pop(ledger_id, "")))
                return
            if FAULT in result:
                self.dispatcher.interrupted(ledger_id, Fault.model_validate_json(result[FAULT]))
                return
            reported = TrialResult.model_validate_json(result[RESULT]) if RESULT in result else None
            stopped = self._stops.pop(ledger_id, "")
            self.dispatcher.end(ledger_id, result=reported, at=float(result.get(ENDED, 0.0)), stopped=stopped)
        except Exception as failure:  # noqa: BLE001  (raised by the study; here Tune would rerun the trial)
            self.fatal = failure

    def note_failure(self, trial_id: str, reason: str) -> None:
        """Store why a trial (ledger ID) failed; Tune does not pass the reason to a searcher."""
        self._reasons[trial_id] = reason

    def note_stop(self, trial_id: str, reason: str) -> None:
        """Store why the scheduler stops a trial (ledger ID)."""
        self._stops[trial_id] = reason

    def note_lost(self, trial_id: str) -> None:
        """End a trial (Tune ID) that Tune gave up without a callback, because its worker could not be reused."""
        if self._is_current(trial_id):
            self.on_trial_complete(trial_id, error=True)

    def note_placed(self, trial_id: str) -> None:
        """Record that a worker is there for a trial (Tune ID)."""
        if self._is_current(trial_id):
            self.dispatcher.on_placed(self._ledger_ids[trial_id])

    def _is_current(self, trial_id: str) -> bool:
        """Whether this is the attempt of a live trial: one that ran again has a later one, of another Tune ID."""
        ledger_id = self._ledger_ids.get(trial_id, "")
        is_live = any(trial.trial_id == ledger_id for trial in self.dispatcher.live)
        return is_live and self._tune_ids.get(ledger_id) == trial_id

    def note_report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Record when the worker began training (trial by ledger ID)."""
        if BEGAN in report:
            self.dispatcher.on_training(trial_id, float(report[BEGAN]))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: all state is in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the searcher into its own folder, which resume never reads.
        return {}
