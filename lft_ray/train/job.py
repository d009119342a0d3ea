"""Trial job and training outcome: the values exchanged between the search and its workers.

In: candidates, data set and training settings. Out: a `TrialJob`, and the places of its files. Light to import, since
the search uses these types. Never trains.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, JsonValue

from lft_ray.candidates import Candidates
from lft_ray.config import ModelSpec, Precision, TrainingSpec
from lft_ray.records import CurvePoint, DatasetRecord, Learned, Role, ScoredVariant, TrialConfig, TrialStatus, Usage
from lft_ray.run.ledger import Allowance
from lft_ray.run.storage import Storage

__all__ = ["Outcome", "Report", "TrialJob", "result_name", "run_storage", "trial_device", "trial_storage"]

_SEEN: set[str] = set()
"""Run folders that this process has seen."""

Report = Callable[[dict[str, Any]], None]
"""Called with the fields of a `CurvePoint` for each new point of a trial's learning curve."""


class TrialJob(Learned):
    """Everything a worker needs to run one trial; serializes to JSON and pickle."""

    trial_id: str
    attempt: int = 1
    """Counted from 1. Files of one attempt never overwrite those of another."""
    config: TrialConfig
    models: list[ModelSpec]
    """The ``models`` section of the experiment; ``config.model_size`` names one of its sizes."""
    task_kind: str
    labels: list[str]
    metric: str = "macro_f1"
    """Key of the task metric that serves as the trial's F1."""
    dataset: DatasetRecord
    training: TrainingSpec
    run_uri: str
    precisions: list[Precision] = Field(default=["fp32"], min_length=1)
    """Serving precisions at which the trained checkpoint is evaluated; the first is the reference."""
    max_lengths: list[int] = Field(default_factory=list)
    """Further lengths in tokens at which it is evaluated, none longer than ``config.max_length``."""
    deadline: float | None = None
    """Seconds since the epoch; a trial still running at that time ends as stopped."""
    allowance: Allowance | None = None
    """Usage limit including earlier attempts; before exceeding it the trial ends as stopped. None: no limit."""
    role: Role = "search"
    node: str = ""
    """Node name for the record; the host name if empty."""
    other_facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What the task learned from train, where that is not a list of labels alone."""

    @classmethod
    def of(cls, candidates: Candidates, dataset: DatasetRecord, training: TrainingSpec, run_uri: str) -> "TrialJob":
        """Job template with everything the trials of a study share; each copy gets an id and a config (``replace``).

        Args:
            candidates: models, task and precisions.
            dataset: the prepared data set. Fields used only by profiles and the data card are dropped, so that they
                are not sent with every trial.
            training: training settings.
            run_uri: URI of the run folder.
        """
        return cls(
            trial_id="",
            config=TrialConfig(model_size=""),
            models=candidates.models,
            task_kind=candidates.task.kind,
            labels=candidates.task.labels,
            other_facts=candidates.task.other_facts,
            metric=candidates.task.metric,
            dataset=dataset.replace(sample_texts=[], problems=[]),
            training=training,
            run_uri=run_uri,
            precisions=candidates.precisions,
        )

    @property
    def trained(self) -> TrainingSpec:
        """The training settings of this trial: ``training`` with the one class weighting that its configuration has."""
        given = self.training.class_weights
        weights = self.config.class_weights or (given if isinstance(given, str) else given[0])
        return self.training.replace(class_weights=weights)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Training outcome, before it becomes a `TrialResult`. ``usage`` includes earlier attempts."""

    status: TrialStatus
    reason: str = ""
    curve: list[CurvePoint] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    variants: list[ScoredVariant] = field(default_factory=list)
    checkpoint_uri: str = ""
    checkpoint_sha256: dict[str, str] = field(default_factory=dict)
    note: str = ""


def result_name(attempt: int) -> str:
    """Name of the result file of an attempt, in the trial's folder."""
    return f"result-{attempt}.json"


def run_storage(job: TrialJob) -> Storage:
    """The run folder; once this process has seen it, its half is not made anew after someone removed it."""
    run = Storage(job.run_uri)
    if run.uri in _SEEN or run.exists():
        _SEEN.add(run.uri)
        run.must_exist()
    return run


def trial_storage(job: TrialJob) -> Storage:
    """Folder of the trial inside the run folder."""
    return run_storage(job).child("trials", job.trial_id)


def trial_device(job: TrialJob) -> str:
    """Device of the trial: the GPU assigned to this process by Ray or the user, else the CPU."""
    import torch

    if job.training.resources.gpu == 0 or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"
