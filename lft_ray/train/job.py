"""What one trial is asked to do and what training came to. In and out: values between the search and its workers.

Light to import (the search names its types). Trains nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from lft_ray.candidates import Candidates
from lft_ray.config import ModelSpec, Precision, TrainingSpec
from lft_ray.records import CurvePoint, DatasetRecord, Record, Role, ScoredVariant, TrialConfig, TrialStatus, Usage
from lft_ray.run.ledger import Allowance
from lft_ray.run.storage import Storage

__all__ = ["Outcome", "Report", "TrialJob", "result_name", "trial_device", "trial_storage"]

Report = Callable[[dict[str, Any]], None]
"""Called with ``{"fraction", "f1", "loss", "train_s", "step"}`` for each new point of a trial's curve."""


class TrialJob(Record):
    """All that a worker needs to run one trial; JSON and pickle."""

    trial_id: str
    attempt: int = 1
    """Counted from 1. Files of one attempt never overwrite those of another."""
    config: TrialConfig
    models: list[ModelSpec]
    """The models part of the experiment: ``config.model_size`` is one of its sizes."""
    task_kind: str
    labels: list[str]
    metric: str = "macro_f1"
    """Key of the task's metrics that is the trial's F1."""
    dataset: DatasetRecord
    training: TrainingSpec
    run_uri: str
    precisions: list[Precision] = Field(default=["fp32"], min_length=1)
    """Serving precisions that the trained checkpoint is evaluated at."""
    max_lengths: list[int] = Field(default_factory=list)
    """Lengths in tokens that it is evaluated at beside ``config.max_length``, none of them longer."""
    deadline: float | None = None
    """Seconds since the epoch; a trial that still runs then ends as stopped."""
    allowance: Allowance | None = None
    """What it may use up, earlier attempts counted: before it uses more it ends as stopped. None: no limit."""
    role: Role = "search"
    node: str = ""
    """Where it runs, for the record; the host's name when left empty."""

    @classmethod
    def of(cls, candidates: Candidates, dataset: DatasetRecord, training: TrainingSpec, run_uri: str) -> "TrialJob":
        """What all trials of a study share: a template, whose copies get an id and a configuration (``replace``).

        Args:
            candidates: models, task and precisions.
            dataset: prepared; what only profiles and the data card need of it does not travel with every trial.
            training: how a trial trains.
            run_uri: run folder.
        """
        return cls(
            trial_id="",
            config=TrialConfig(model_size=""),
            models=candidates.models,
            task_kind=candidates.task.kind,
            labels=candidates.task.labels,
            metric=candidates.task.metric,
            dataset=dataset.replace(sample_texts=[], problems=[]),
            training=training,
            run_uri=run_uri,
            precisions=candidates.precisions,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training came to, before it is dressed as a `TrialResult`. ``usage`` counts earlier attempts too."""

    status: TrialStatus
    reason: str = ""
    curve: list[CurvePoint] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    variants: list[ScoredVariant] = field(default_factory=list)
    checkpoint_uri: str = ""


def result_name(attempt: int) -> str:
    """File name of an attempt's result in the trial's folder."""
    return f"result-{attempt}.json"


def trial_storage(job: TrialJob) -> Storage:
    """The trial's folder in the run folder."""
    return Storage(job.run_uri).child("trials", job.trial_id)


def trial_device(job: TrialJob) -> str:
    """The GPU that Ray (or the user) gave this process, else the processor."""
    import torch

    if job.training.resources.gpu == 0 or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"
