"""What happens on a worker: one trial, in the process or sharded. Light to import; pickled once with all it holds."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lft_ray.ledger import StartedTrial
from lft_ray.records import TrialResult
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

__all__ = ["Worker"]


@dataclass(frozen=True, slots=True)
class Worker:
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
        from lft_ray.train.sharded import run_sharded

        return run_sharded(job, report)


def _node() -> str:
    """Host and Ray node: one machine can hold several of them."""
    import ray

    return f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
