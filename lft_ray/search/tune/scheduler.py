"""Ray Tune scheduler: forward curve points, apply early stopping, count attempts, stop trials that miss the deadline.

Trials start first in, first out. A trial stopped by the early-stopping rule keeps its curve, is recorded as ``stopped``
with the rule's reason, and is never on the Pareto front.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from lft_ray.records import CurvePoint
from lft_ray.search.tune.searcher import StudySearcher
from lft_ray.search.tune.trainable import POINT, TRIAL

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

__all__ = ["StudyScheduler"]

OVERRUN_S = 30.0
"""A trial checks its deadline after every step; one that is still running this long after it hangs."""


LINEAR_OVERRUN_S = 600.0
"""The same for a linear model, which has no steps and does not check: the baseline that all is compared with must
not be lost to the clock. A fit of 14 core seconds took minutes beside other work."""


class StudyScheduler(FIFOScheduler):
    """FIFO scheduler that stops trials when the dispatcher's early-stopping rule says so.

    Args:
        searcher: provides the dispatcher, and receives the reasons why trials fail or stop.
        warm_workers: idle worker processes to keep: one per parallel trial.
        deadline: seconds since the epoch; None: no deadline.
    """

    def __init__(self, searcher: StudySearcher, *, warm_workers: int = 1, deadline: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher
        self._deadline = deadline
        self._warm_workers = warm_workers

    @property
    def metric(self) -> str | None:
        """None: Tune must not look for a metric in reports."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept and ignore all properties."""
        return True

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """On the first trial, raise Tune's limit of idle workers to the number of parallel trials.

        Tune's limit is one. When trials end out of order in deterministic mode, two workers are idle for a moment and
        Tune stopped the second: 3-5 s and its caches were lost in every other trial.
        """
        if self._warm_workers > 1:
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._warm_workers)
            self._warm_workers = 0

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Forward a curve point to the dispatcher, and stop the trial if the rule gives a reason."""
        trial_id = _trial_id(trial)
        self._searcher.note_report(trial_id, result)
        fields = {key.removeprefix(f"{POINT}/"): value for key, value in result.items() if key.startswith(f"{POINT}/")}
        if not fields:
            return str(TrialScheduler.CONTINUE)
        point = CurvePoint.model_validate(fields)
        self._searcher.dispatcher.on_point(trial_id, point)
        try:
            reason = self._searcher.dispatcher.reason_to_stop(trial_id)
        except Exception as failure:  # noqa: BLE001  (raised later by the study: Tune would wrap it here)
            self._searcher.fatal = failure
            reason = ""
        if not reason:
            return str(TrialScheduler.CONTINUE)
        self._searcher.note_stop(trial_id, reason)
        return str(TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Keep what Ray says about a dead worker; the searcher is told of the end next, without a reason."""
        # Not trial.get_error(): it reads the copy on storage, which is written later.
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        self._searcher.note_failure(_trial_id(trial), _error_line(text))

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The oldest pending trial that no worker is starting for. Called at every step: also checks the deadline.

        Tune's own choice gives an idle worker to the oldest pending trial and stops the worker that is starting for it:
        with trials shorter than a worker start (3-10 s) the second worker was restarted forever and never ready.
        """
        if self._deadline is not None and time.time() > self._deadline + OVERRUN_S:
            for trial in tune_controller.get_trials():  # type: ignore[no-untyped-call]
                if not trial.is_finished() and not self._may_overrun(trial):
                    tune_controller.stop_trial(trial)  # type: ignore[no-untyped-call]
        for trial in tune_controller.get_trials():  # type: ignore[no-untyped-call]
            if trial.status == trial.PENDING and trial not in tune_controller._trial_to_actor:
                return cast("Trial", trial)
        return super().choose_trial_to_run(tune_controller)

    def _may_overrun(self, trial: "Trial") -> bool:
        is_linear = trial.config[TRIAL]["config"].get("learning_rate") is None
        return is_linear and self._deadline is not None and time.time() <= self._deadline + LINEAR_OVERRUN_S

    def debug_string(self) -> str:
        """Name of the scheduler."""
        return "first in, first out"

    def save(self, checkpoint_path: str) -> None:
        """Write a placeholder: all state is in the ledger."""
        Path(checkpoint_path).write_text(json.dumps({"scheduler": type(self).__name__}), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the scheduler into its own folder, which resume never reads.
        return {}


def _trial_id(trial: "Trial") -> str:
    return str(trial.config[TRIAL]["trial_id"])


def _error_line(text: str) -> str:
    """The last line of Ray's traceback, which is the error without the advice after it; at most 300 characters.

    A dead actor's line has no class in front, and Ray's words for it are long.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1].partition(". Worker exit type")[0]
    ended = any(words in line for words in ("is dead", "died", "unavailable", "never ran"))
    is_actor = ended and "actor" in line.lower()
    return (line if not is_actor or "Error" in line.partition(" ")[0] else f"ActorDiedError: {line}")[:300]
