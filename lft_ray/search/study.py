"""Run a study: from an experiment, its data and its serving profiles to trial records in the ledger.

In: `StudyJob`, a connected cluster. Out: the whole ledger. Resume is the same call again: what has a record is not
rerun, what was started is continued under its id, and the next proposals follow from the ledger alone.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lft_ray.cluster import ClusterHandle
from lft_ray.config import Experiment
from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import Forecast, mean_tokens, trial_flops
from lft_ray.cost.prices import price_of
from lft_ray.errors import ConfigError
from lft_ray.ledger import Ledger, Role
from lft_ray.models.base import ModelSize, model_sizes
from lft_ray.records import DatasetRecord, FrontPoint, ProfileBook, TrialConfig, TrialRecord, TrialStatus
from lft_ray.search.admission import BudgetAdmission
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.plan import Listener, Plan, Queued
from lft_ray.search.pricing import Pricing
from lft_ray.search.proposer import Proposer
from lft_ray.search.space import build_space, start_table
from lft_ray.search.teachers import Teachers, check_distil
from lft_ray.search.trainable import RunsTrials
from lft_ray.search.tuning import MAX_FAILURES, run_trials
from lft_ray.search.worker import Worker
from lft_ray.storage import Storage
from lft_ray.train.trial import TrialJob

__all__ = ["FRESH_SEEDS", "StudyJob", "allowed_sizes", "run_study"]

FRESH_SEEDS = 3
COLD_START_S = 10.0
"""A worker that died is replaced in 3-10 s on two cores: process, torch, weights."""


@dataclass(frozen=True, slots=True)
class StudyJob:
    """What a study needs to know.

    Attributes:
        run_uri: run folder.
        experiment: resolved.
        dataset: prepared.
        profiles: what each size costs to serve; a size without a profile can't be searched.
        finalists: trial ids to run again with fresh seeds; None: search.
    """

    run_uri: str
    experiment: Experiment
    dataset: DatasetRecord
    profiles: ProfileBook
    finalists: tuple[str, ...] | None = None

    def confirming(self, finalists: Sequence[FrontPoint]) -> "StudyJob":
        """The job that runs these points' trials again with fresh seeds, the first finalist first."""
        return replace(self, finalists=tuple(dict.fromkeys(point.trial_id for point in finalists)))

    @property
    def role(self) -> Role:
        """What its trials are for."""
        return "search" if self.finalists is None else "confirm"


def run_study(
    job: StudyJob, cluster: ClusterHandle, listener: Listener | None = None, *, run: RunsTrials | None = None
) -> list[TrialRecord]:
    """Run all trials of the job that the ledger does not have yet. Returns the whole ledger.

    Args:
        job: what to search, or which finalists to confirm.
        cluster: connected; `ClusterHandle.preflight` has passed.
        listener: told of starts, points and records.
        run: what a worker does with a trial; `Worker` when left out.

    Raises:
        ConfigError: no size may be trained under the caps, the budget does not hold the cheapest trial, or the task
            cannot be distilled.
        KeyboardInterrupt: the user asked to end; running trials stay unfinished and are continued on resume.
    """
    check_distil(job.experiment)
    ledger = Ledger(Storage(job.run_uri))
    pricing = Pricing.of(job.experiment, job.profiles)
    sizes = allowed_sizes(job.experiment, pricing)
    ledger.adopt(pricing.record)
    admission = _admission(job, cluster, sizes, ledger)
    dispatcher = Dispatcher(
        ledger,
        _plan(job, cluster, sizes, ledger),
        _proposer(job, sizes, pricing) if job.role == "search" else None,
        pricing.record,
        admission,
        listener,
        Teachers(pricing.cost),
    )
    deadline = admission.budget.deadline_s(job.role)
    training = job.experiment.training
    run_trials(
        dispatcher,
        run or _worker(job, deadline),
        cluster,
        training,
        deadline=deadline,
        scheduler=job.experiment.search.scheduler,
    )
    if not ledger.started():
        raise ConfigError(
            f"no trial could start: {dispatcher.refusal or dispatcher.end_reason}",
            fix="raise search.budget_usd or search.minutes",
        )
    return ledger.records()


def allowed_sizes(experiment: Experiment, pricing: Pricing) -> list[ModelSize]:
    """Model sizes that may win under the caps on dollars and latency, cheapest to serve first.

    Raises:
        ConfigError: none may.
    """
    sizes = model_sizes(experiment.models)
    cap_usd, cap_ms = experiment.selection.max_usd_per_million, experiment.cost.traffic.p95_ms
    allowed = [size for size in sizes if pricing.is_allowed(size.name, cap_usd, cap_ms)]
    if not allowed:
        best = ", ".join(f"{size.name} ${pricing.cost(size.name):.4f}" for size in sizes)
        raise ConfigError(
            f"no model size may be trained under the caps; dollars per million predictions: {best}",
            fix="raise selection.max_usd_per_million or cost.traffic.p95_ms",
        )
    return sorted(allowed, key=lambda size: pricing.cost(size.name))


def _plan(job: StudyJob, cluster: ClusterHandle, sizes: Sequence[ModelSize], ledger: Ledger) -> Plan:
    search, training = job.experiment.search, job.experiment.training
    slots = max(1, cluster.slots(training))
    if search.concurrency != "auto":
        slots = min(slots, search.concurrency)
    if job.role == "confirm":
        queue = _fresh_runs(job, ledger)
        trials = len(queue) + len(ledger.started("confirm"))
    else:
        queue = tuple(Queued(config) for config in start_table(sizes, training, seed=search.seed))
        trials = search.trials
    return Plan(
        queue=queue,
        trials=trials,
        slots=slots,
        role=job.role,
        is_deterministic=search.is_deterministic,
        cores_per_trial=training.workers * training.resources.cpu,
    )


def _fresh_runs(job: StudyJob, ledger: Ledger) -> tuple[Queued, ...]:
    """One fresh seed for every finalist, then the second for every finalist, ... up to the share kept for them."""
    finalists = job.finalists or ()
    count = max(len(finalists), round(job.experiment.selection.confirm_share * job.experiment.search.trials))
    runs = []
    for seed in range(1, FRESH_SEEDS + 1):
        for trial_id in finalists:
            if (record := ledger.get(trial_id)) is not None:
                config = record.config.model_copy(update={"seed": record.config.seed + seed})
                runs.append(Queued(config, confirms=trial_id))
    return tuple(runs[:count])


def _proposer(job: StudyJob, sizes: Sequence[ModelSize], pricing: Pricing) -> Proposer:
    search = job.experiment.search
    space = build_space(sizes, job.experiment.training, seed=search.seed)
    return Proposer(space, search.sampler, search.seed, lambda config: pricing.cost(config.model_size))


def _admission(job: StudyJob, cluster: ClusterHandle, sizes: Sequence[ModelSize], ledger: Ledger) -> BudgetAdmission:
    search, training, dataset = job.experiment.search, job.experiment.training, job.dataset
    by_name = {size.name: size for size in model_sizes(job.experiment.models)}
    tokens = mean_tokens(dataset, training.max_length)
    rows = {name: split.rows for name, split in dataset.splits.items()}
    network_device = "cuda" if cluster.gpus_per_worker(training.resources) else "cpu"

    def work(config: TrialConfig) -> float:
        return trial_flops(
            config,
            flops_per_token=by_name[config.model_size].flops_per_token,
            train_tokens=rows["train"] * tokens,
            validation_tokens=rows["validation"] * tokens,
            evaluations=training.evaluations,
        ) + _teaching_flops(config, ledger, by_name, rows["train"] * tokens)

    budget = Budget(
        budget_usd=search.budget_usd,
        minutes=search.minutes,
        confirm_share=job.experiment.selection.confirm_share,
        started_s=time.time() - _busy_s(ledger),
    )
    admission = BudgetAdmission(
        budget,
        Forecast(),
        price_of(job.experiment.cost),
        work,
        lambda config: "linear" if by_name[config.model_size].is_linear else network_device,
        retries=MAX_FAILURES,
        lost_s=training.checkpoint_every_s + COLD_START_S,
    )
    for record in ledger.records():
        if record.config.model_size in by_name:
            admission.settle(record)
    return admission


def _teaching_flops(config: TrialConfig, ledger: Ledger, sizes: Mapping[str, ModelSize], train_tokens: float) -> float:
    """FLOPs of the teacher's pass over train, which the first trial that it teaches must make."""
    teacher = ledger.get(config.teacher) if config.teacher else None
    if teacher is None or teacher.config.model_size not in sizes:
        return 0.0
    taught = (r for r in ledger.records() if r.config.teacher == config.teacher and r.status is TrialStatus.DONE)
    return 0.0 if any(taught) else sizes[teacher.config.model_size].flops_per_token * train_tokens


def _busy_s(ledger: Ledger) -> float:
    """Wall seconds in which trials of earlier sessions ran: the minutes between a crash and a resume do not count."""
    spans = sorted(
        (datetime.fromisoformat(r.started_at).timestamp(), datetime.fromisoformat(r.finished_at).timestamp())
        for r in ledger.records()
        if r.started_at
    )
    busy, end = 0.0, -math.inf
    for begun, ended in spans:
        busy += max(0.0, ended - max(begun, end))
        end = max(end, ended)
    return busy


def _worker(job: StudyJob, deadline: float | None) -> Worker:
    experiment = job.experiment
    template = TrialJob(
        trial_id="",
        config=TrialConfig(model_size=""),
        models=experiment.models,
        task_kind=experiment.task.kind,
        labels=job.dataset.labels,
        metric=experiment.task.metric,
        # Only profiles are measured on the sample texts; they would travel with every trial.
        dataset=job.dataset.model_copy(update={"sample_texts": [], "problems": []}),
        training=experiment.training,
        run_uri=job.run_uri,
        precisions=experiment.export.precisions,
        deadline=deadline,
    )
    linear = frozenset(size.name for size in model_sizes(experiment.models) if size.is_linear)
    return Worker(template, linear)
