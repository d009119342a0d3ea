"""The Ray Tune trainable: a function around `run_trial` or `run_sharded`. Light to import.

In: Tune's configuration, which holds a `StartedTrial`. Out: reports. The function and its closure are pickled once, and
later trials reuse the worker process, so base weights, tokens and imports are loaded once. When the scheduler stops a
trial, ``report`` raises SystemExit in the worker: the function unwinds, and the worker stays alive.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lft_ray.causes import MachineError
from lft_ray.records import TrialResult
from lft_ray.run.ledger import StartedTrial
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

__all__ = ["BEGAN", "ENDED", "FAULT", "POINT", "RESULT", "TRIAL", "RunsTrials", "TrialRunner", "make_trainable"]

TRIAL = "trial"
"""Key of the `StartedTrial` in Tune's configuration."""
POINT = "point"
"""Key of a `CurvePoint` in a report."""
RESULT = "result_json"
"""Key of the `TrialResult` in the last report."""
FAULT = "fault_json"
"""Key of the `Fault` in the last report of a trial that the machine ended."""
BEGAN = "began_at"
ENDED = "ended_at"
UNWINDING_S = "60"
"""Seconds that a worker waits for the function of a stopped trial to return (0.1 s with a network to free) before it
takes the next trial. By default Tune waits 2 s, then fails the *next* trial, and a stalled machine takes longer."""


class RunsTrials(Protocol):
    """Runs one trial in a worker, writes its ``result-<attempt>.json`` and returns the result. Must be picklable."""

    def __call__(self, trial: StartedTrial, report: Callable[[dict[str, Any]], None], /) -> TrialResult:
        """Run the trial; ``report`` takes the fields of a `CurvePoint`."""


@dataclass(frozen=True, slots=True)
class TrialRunner:
    """Runs the trials of one study.

    Attributes:
        job: settings shared by all trials; ID, attempt, configuration and role are filled in per trial.
        linear: names of linear model sizes, which are never sharded.
        max_lengths: model size -> lengths to evaluate at, in tokens; absent sizes only at the trained length.
    """

    job: TrialJob
    linear: frozenset[str] = frozenset()
    max_lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __call__(self, trial: StartedTrial, report: Callable[[dict[str, Any]], None], /) -> TrialResult:
        """Run one trial, in this process or sharded over several workers."""
        job = self.job.replace(
            trial_id=trial.trial_id,
            attempt=trial.attempt,
            config=trial.config,
            role=trial.role,
            max_lengths=list(self.max_lengths.get(trial.config.model_size, ())),
            allowance=trial.allowance,
            node=_node(),
        )
        if job.training.worker_count == 1 or trial.config.model_size in self.linear:
            return run_trial(job, report)
        from lft_ray.train.distributed.sharded import run_sharded

        return run_sharded(job, report)


def _node() -> str:
    """Host name and Ray node ID, since one machine can run several Ray nodes."""
    import ray

    return f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"


def make_trainable(run: RunsTrials) -> Callable[[dict[str, Any]], None]:
    """Wrap ``run`` as a Tune function trainable."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", UNWINDING_S)
        began = time.time()
        started = StartedTrial.model_validate(config[TRIAL])

        def report(point: dict[str, Any]) -> None:
            tune.report({POINT: point, BEGAN: began})

        try:
            result = run(started, report)
        except MachineError as error:
            # Reported, not raised: Tune would count it as a failure of the trial, and stop this warm worker.
            tune.report({FAULT: error.fault.model_dump_json(), BEGAN: began, ENDED: time.time()})
            return
        # The result is reported as well, because writing its file may have failed (a full disk).
        tune.report({RESULT: result.model_dump_json(), BEGAN: began, ENDED: time.time()})

    return trial
