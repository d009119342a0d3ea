"""Ray Tune's `Searcher`, thin: it asks the dispatcher what to run and tells it what ended.

Imports Ray, so only `lft_ray.search.study` imports it. Keeps no state of its own: Tune's copies of it are empty.
"""

from typing import Any

from ray.tune.search import Searcher

from lft_ray.records import TrialResult
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.tune.trainable import BEGAN, ENDED, RESULT, TRIAL

__all__ = ["StudySearcher"]


class StudySearcher(Searcher):
    """Hands Tune the dispatcher's trials.

    Tune turns an exception in ``on_trial_complete`` into a failure of the trial and runs it again, so errors (a full
    disk, a lost lock) are kept in ``fatal`` for the study to raise.

    Args:
        dispatcher: decides what runs.
        first: a trial that it has started already.
    """

    def __init__(self, dispatcher: Dispatcher, first: StartedTrial | None = None) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.fatal: BaseException | None = None
        self._first = first
        self._ours: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._stops: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Tune's configuration of the next trial, None to wait, FINISHED at the end."""
        if self.fatal is not None:
            return str(Searcher.FINISHED)
        trial = self._first or self.dispatcher.next()
        self._first = None
        if isinstance(trial, StartedTrial):
            self._ours[trial_id] = trial.trial_id
            return {TRIAL: trial.model_dump(mode="json")}
        return str(Searcher.FINISHED) if trial == "finished" else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: curve points go through the scheduler, which may stop the trial for them."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Put the record, before anything else learns of the end."""
        ours = self._ours[trial_id]
        result = result or {}
        try:
            reported = TrialResult.model_validate_json(result[RESULT]) if RESULT in result else None
            reason = self._reasons.pop(ours, "its worker died") if error else ""
            stopped = self._stops.pop(ours, "")
            self.dispatcher.end(ours, reason=reason, result=reported, at=float(result.get(ENDED, 0.0)), stopped=stopped)
        except Exception as failure:  # noqa: BLE001  (raised by the study; here Tune would rerun the trial)
            self.fatal = failure

    def note_failure(self, trial_id: str, reason: str) -> None:
        """Remember why a trial of ours (by our id) failed; Tune does not tell a searcher."""
        self._reasons[trial_id] = reason

    def note_stop(self, trial_id: str, reason: str) -> None:
        """Remember why the scheduler stops a trial of ours (by our id)."""
        self._stops[trial_id] = reason

    def note_lost(self, trial_id: str) -> None:
        """End a trial (by Tune's id) that Tune gave up without saying so: one whose worker could not be reused."""
        if any(trial.trial_id == self._ours[trial_id] for trial in self.dispatcher.live):
            self.on_trial_complete(trial_id, error=True)

    def note_report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Note when the worker began."""
        if BEGAN in report:
            self.dispatcher.on_training(trial_id, float(report[BEGAN]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the searcher into its own folder; resume never reads that.
        return {}
