"""What Ray Tune runs as a trial: one function around `run_trial` or `run_sharded`. Light to import.

In: Tune's configuration, which is our `StartedTrial`. Out: reports. The function and all it holds are pickled once; the
worker's process is reused by the trials after it, so base weights, tokens and imports are paid for once. Where the
scheduler stops a trial, ``report`` raises SystemExit in it: its function unwinds, and the worker stays.
"""

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from lft_ray.ledger import StartedTrial
from lft_ray.records import TrialResult

__all__ = ["BEGAN", "ENDED", "POINT", "RESULT", "TRIAL", "RunsTrials", "make_trainable"]

TRIAL = "trial"
"""Key of the `StartedTrial` in Tune's configuration."""
POINT = "point"
RESULT = "result_json"
BEGAN = "began_at"
ENDED = "ended_at"
UNWINDING_S = "60"
"""How long a worker waits for the function of a stopped trial to return (0.1 s with a network to free) before it takes
the next one. Tune waits 2 s, then gives the *next* trial up; a stalled machine takes longer for less."""


class RunsTrials(Protocol):
    """Runs one trial in a worker, writes its ``result-<attempt>.json`` and returns it. Must pickle."""

    def __call__(self, trial: StartedTrial, report: Callable[[dict[str, Any]], None], /) -> TrialResult:
        """Run it; ``report`` takes the fields of a `CurvePoint`."""


def make_trainable(run: RunsTrials) -> Callable[[dict[str, Any]], None]:
    """Wrap ``run`` as a Tune function trainable."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", UNWINDING_S)
        began = time.time()
        started = StartedTrial.model_validate(config[TRIAL])

        def report(point: dict[str, Any]) -> None:
            tune.report({POINT: point, BEGAN: began})

        result = run(started, report)
        # The result travels too: its file may not have been writable (a full disk).
        tune.report({RESULT: result.model_dump_json(), BEGAN: began, ENDED: time.time()})

    return trial
