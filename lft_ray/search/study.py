"""Run a study: from an experiment, its data and its serving profiles to trial records in the ledger.

In: `StudyJob`, a connected cluster. Out: the whole ledger. Resume is the same call again: what has a record is not
rerun, what was started is continued under its id, and the next proposals follow from the ledger alone.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lft_ray.cluster import ClusterHandle
from lft_ray.config import Experiment
from lft_ray.decision import FrontPoint
from lft_ray.errors import ConfigError
from lft_ray.ledger import Ledger, Role
from lft_ray.models.base import ModelSize, model_sizes
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, ProfileBook, TrialConfig, TrialRecord
from lft_ray.search import SCHEDULERS
from lft_ray.search.admission import BudgetAdmission
from lft_ray.search.confirm import Left, fresh_seeds, most_seeds, rounds, run_cost
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.outlook import Offer
from lft_ray.search.plan import Listener, Plan, Queued
from lft_ray.search.pricing import Pricing
from lft_ray.search.proposer import Proposer
from lft_ray.search.space import build_space, default_rate, start_table
from lft_ray.search.standing import StopRule
from lft_ray.search.teachers import Taught, Teachers
from lft_ray.search.trainable import RunsTrials
from lft_ray.search.tuning import run_trials
from lft_ray.search.worker import Worker
from lft_ray.search.workload import Workload, admission_of, slots_of
from lft_ray.storage import Storage
from lft_ray.train.job import TrialJob

__all__ = ["StudyJob", "allowed_sizes", "run_study"]


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
        ConfigError: no size may be trained under the caps, or the budget does not hold the cheapest trial.
        KeyboardInterrupt: the user asked to end; running trials stay unfinished and are continued on resume.
    """
    ledger = Ledger(Storage(job.run_uri))
    pricing = Pricing.of(job.experiment, job.profiles)
    sizes, rule = allowed_sizes(job.experiment, pricing), _rule(job)
    ledger.adopt(pricing.record)
    admission = _admission(job, cluster, ledger)
    if listener is not None:
        listener.on_budget(admission.budget)
    plan = _plan(job, cluster, sizes, ledger, admission)
    plan = replace(plan, rule=rule, known_cost=lambda config: pricing.cost(config.model_size))
    proposer = None
    if job.role == "search":
        proposer = Taught(_proposer(job, sizes, pricing, admission), Teachers(pricing.cost))
    dispatcher = Dispatcher(ledger, plan, proposer, pricing.record, admission, listener)
    deadline = admission.budget.deadline_s(job.role)
    run_trials(dispatcher, run or _worker(job, pricing, deadline), cluster, job.experiment.training, deadline=deadline)
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


def _rule(job: StudyJob) -> StopRule | None:
    search = job.experiment.search
    rule: StopRule | None = resolve(search.scheduler, SCHEDULERS, where="search.scheduler")(search.seed)
    # A finalist's fresh seed is a measurement: it must end.
    return rule if job.role == "search" else None


def _plan(
    job: StudyJob, cluster: ClusterHandle, sizes: Sequence[ModelSize], ledger: Ledger, admission: BudgetAdmission
) -> Plan:
    search, training = job.experiment.search, job.experiment.training
    slots = slots_of(job.experiment, cluster)
    if job.role == "confirm":
        queue = _fresh_runs(job, ledger, admission, slots)
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
        cores_per_trial=training.worker_count * training.resources.cpu,
        devices_per_trial=training.worker_count * cluster.gpus_per_worker(training.resources),
    )


def _fresh_runs(job: StudyJob, ledger: Ledger, admission: BudgetAdmission, slots: int) -> tuple[Queued, ...]:
    """One fresh seed for every finalist, then the second for every finalist, ... as many as fit what is left."""
    experiment = job.experiment
    finalists = [record for trial_id in job.finalists or () if (record := ledger.get(trial_id)) is not None]
    deadline_s = admission.budget.deadline_s("confirm")
    counts = round(experiment.selection.confirm_share * experiment.search.trials)
    left_usd = admission.budget.left_usd("confirm")
    left = Left(
        usd=left_usd,
        wall_s=None if deadline_s is None else deadline_s - admission.clock(),
        # Without a clock and a budget the plan must be the same on every machine and day.
        runs=counts if deadline_s is None and left_usd is None else None,
        slots=slots,
    )
    started = [trial.confirms for trial in ledger.started("confirm")]
    seeds = fresh_seeds(
        [run_cost(admission, _reseeded(record.config, 1)) for record in finalists],
        [started.count(record.trial_id) for record in finalists],
        left,
        most_seeds(job.dataset.splits["validation"].rows, experiment.selection.confirm_seeds),
    )
    return tuple(
        Queued(_reseeded(finalists[i].config, seed), confirms=finalists[i].trial_id) for i, seed in rounds(seeds)
    )


def _reseeded(config: TrialConfig, seed: int) -> TrialConfig:
    """The configuration with a fresh seed, and all else as it is: a distilled one keeps its teacher."""
    return config.model_copy(update={"seed": config.seed + seed})


def _proposer(job: StudyJob, sizes: Sequence[ModelSize], pricing: Pricing, admission: BudgetAdmission) -> Proposer:
    search = job.experiment.search
    space = build_space(sizes, job.experiment.training, seed=search.seed)
    by_name = {size.name: size for size in sizes}
    cap_usd, cap_ms = job.experiment.selection.max_usd_per_million, job.experiment.cost.traffic.p95_ms
    # Measured seconds differ between two runs of the same seed; FLOPs do not.
    uses_measured = not search.is_deterministic

    def variants(config: TrialConfig) -> list[Offer]:
        return [
            (v.precision, v.max_length, v.usd_per_million_predictions or 0.0)
            for v in pricing.admitted(config.model_size, cap_usd, cap_ms)
        ]

    return Proposer(
        space,
        search.sampler,
        search.seed,
        lambda config: pricing.reference_cost(config.model_size),
        variants=variants,
        train_usd=lambda config: admission.expected_usd(config, uses_measured=uses_measured),
        default_rate=lambda config: default_rate(by_name[config.model_size], config.method),
    )


def _admission(job: StudyJob, cluster: ClusterHandle, ledger: Ledger) -> BudgetAdmission:
    on_gpu = cluster.gpus_per_worker(job.experiment.training.resources) > 0
    workload = Workload.of(job.experiment, job.dataset, on_gpu=on_gpu)
    admission = admission_of(job.experiment, workload, started_s=time.time() - _busy_s(ledger), ran=ledger.records)
    for record in ledger.records():
        if record.config.model_size in workload.sizes:
            admission.settle(record)
    return admission


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


def _worker(job: StudyJob, pricing: Pricing, deadline: float | None) -> Worker:
    experiment = job.experiment
    template = TrialJob.of(experiment, job.dataset, job.run_uri, deadline=deadline)
    linear = frozenset(size.name for size in model_sizes(experiment.models) if size.is_linear)
    # What was not profiled can't be priced, so it is not evaluated either.
    lengths = {name: tuple(dict.fromkeys(v.max_length for v in offers)) for name, offers in pricing.offers.items()}
    return Worker(template, linear, lengths)
