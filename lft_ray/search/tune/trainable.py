"""What Ray Tune runs as a trial: one function around `run_trial` or `run_sharded`. Light to import.

In: Tune's configuration, which is our `StartedTrial`. Out: reports. The function and all it holds are pickled once; the
worker's process is reused by the trials after it, so base weights, tokens and imports are paid for once. Where the
scheduler stops a trial, ``report`` raises SystemExit in it: its function unwinds, and the worker stays.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lft_ray.records import TrialResult
from lft_ray.run.ledger import StartedTrial
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

__all__ = ["BEGAN", "ENDED", "POINT", "RESULT", "TRIAL", "RunsTrials", "TrialRunner", "make_trainable"]


@dataclass(frozen=True, slots=True)
class TrialRunner:
    """Runs trials of one study.

    Attributes:
        job: what all its trials share; id, attempt, configuration and role are filled in for each.
        linear: model sizes without a network, which are never sharded.
        max_lengths: lengths that each model size is evaluated at; a size that is absent only at the trained one.
    """

    job: TrialJob
    linear: frozenset[str] = frozenset()
    max_lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __call__(self, trial: StartedTrial, report: Callable[[dict[str, Any]], None], /) -> TrialResult:
        """Run one trial."""
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
    """Host and Ray node: one machine can hold several of them."""
    import ray

    return f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"


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
