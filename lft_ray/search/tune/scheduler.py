"""Ray Tune's scheduler: forwards curve points, asks the stop rule, counts attempts, ends what overruns the deadline.

Trials start first in, first out. One that the rule stops keeps its curve, is recorded as ``stopped`` with the rule's
reason, and never stands on the front.
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
"""A trial looks at its deadline after every step; one that is still busy this long after it hangs."""


class StudyScheduler(FIFOScheduler):
    """Starts trials first in, first out, and ends those that the dispatcher's rule says.

    Args:
        searcher: shares its dispatcher and learns why trials fail or stop.
        warm_workers: idle worker processes to keep: as many as run at a time.
        deadline: seconds since the epoch, or None.
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
        """Accept anything; nothing is read from it."""
        return True

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Have Tune keep as many idle workers as run at a time, once.

        Tune keeps one. When trials end out of order in deterministic mode two workers are idle for a moment, and the
        second was stopped: 3-5 s, and its caches, for every other trial.
        """
        if self._warm_workers > 1:
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._warm_workers)
            self._warm_workers = 0

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Forward a point of the curve."""
        trial_id = _our_id(trial)
        self._searcher.note_report(trial_id, result)
        fields = {key.removeprefix(f"{POINT}/"): value for key, value in result.items() if key.startswith(f"{POINT}/")}
        if not fields:
            return str(TrialScheduler.CONTINUE)
        point = CurvePoint.model_validate(fields)
        self._searcher.dispatcher.on_point(trial_id, point)
        try:
            reason = self._searcher.dispatcher.reason_to_stop(trial_id)
        except Exception as failure:  # noqa: BLE001  (raised by the study: here it would be wrapped beyond knowing)
            self._searcher.fatal = failure
            reason = ""
        if not reason:
            return str(TrialScheduler.CONTINUE)
        self._searcher.note_stop(trial_id, reason)
        return str(TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A worker died. Tune calls this before it starts the trial again, and before it gives it up."""
        # trial.get_error() reads the copy on storage, which is made later.
        reason = _shortened(Path(trial.error_file).read_text(encoding="utf-8")) if trial.error_file else ""
        self._searcher.note_failure(_our_id(trial), f"{reason or 'its worker died'} (attempt {trial.num_failures})")
        if trial.should_recover():  # type: ignore[no-untyped-call]
            try:
                trial.config[TRIAL]["attempt"] = self._searcher.dispatcher.retry(_our_id(trial))
            except Exception as failure:  # noqa: BLE001  (raised by the study: here it would be wrapped beyond knowing)
                self._searcher.fatal = failure

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The oldest pending trial that no worker is starting for. Called at every step, so it also looks at the clock.

        Tune's own choice gives an idle worker to the oldest pending trial and stops the one that starts for it: with
        trials shorter than a start (3-10 s) the second worker was started again and again and never came to be.
        """
        if self._deadline is not None and time.time() > self._deadline + OVERRUN_S:
            for trial in tune_controller.get_trials():  # type: ignore[no-untyped-call]
                if not trial.is_finished():
                    tune_controller.stop_trial(trial)  # type: ignore[no-untyped-call]
        for trial in tune_controller.get_trials():  # type: ignore[no-untyped-call]
            if trial.status == trial.PENDING and trial not in tune_controller._trial_to_actor:
                return cast("Trial", trial)
        return super().choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """Name of the scheduler."""
        return "first in, first out"

    def save(self, checkpoint_path: str) -> None:
        """Write a marker: the ledger is the state."""
        Path(checkpoint_path).write_text(json.dumps({"scheduler": type(self).__name__}), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the scheduler into its own folder; resume never reads that.
        return {}


def _our_id(trial: "Trial") -> str:
    return str(trial.config[TRIAL]["trial_id"])


def _shortened(text: str) -> str:
    """The error itself, which Ray puts on the last line, without the advice that follows it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].partition(". Worker exit type")[0][:300] if lines else ""
