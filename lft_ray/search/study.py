"""Run a study: from candidates, their data and its serving profiles to trial records in the ledger.

In: `StudyJob`, a connected cluster. Out: the whole ledger. Resume is the same call again: what has a record is not
rerun, what was started is continued under its id, and the next proposals follow from the ledger alone.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle
from lft_ray.config.base import SCHEDULERS
from lft_ray.cost.caps import Caps
from lft_ray.errors import ConfigError
from lft_ray.models.sizes import ModelSize
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, FrontPoint, PricedVariant, ProfileBook, Role, TrialConfig, TrialRecord
from lft_ray.run.ledger import Ledger
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.budget.workload import Workload, admission_of, slots_of
from lft_ray.search.confirm import Remaining, fresh_seeds, max_seeds, rounds, run_cost
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import Listener, Queued, StudyPlan
from lft_ray.search.samplers.proposer import Proposer
from lft_ray.search.samplers.teachers import Teachers, WithTeachers
from lft_ray.search.space import build_space, default_rate, start_table
from lft_ray.search.specs import StudySpecs
from lft_ray.search.stopping.base import StopRule
from lft_ray.search.tune.trainable import RunsTrials, TrialRunner
from lft_ray.search.tune.tuner import run_trials
from lft_ray.train.job import TrialJob

__all__ = ["StudyJob", "allowed_sizes", "run_study"]


@dataclass(frozen=True, slots=True)
class StudyJob:
    """What a study needs to know.

    Attributes:
        ledger: of the run.
        candidates: what may be trained and served.
        dataset: prepared.
        profiles: what each size costs to serve; a size without a profile can't be searched.
        specs: how many trials, how each trains, what may win.
        finalists: trial ids to run again with fresh seeds; None: search.
    """

    ledger: Ledger
    candidates: Candidates
    dataset: DatasetRecord
    profiles: ProfileBook
    specs: StudySpecs
    finalists: tuple[str, ...] | None = None

    def confirming(self, finalists: Sequence[FrontPoint]) -> "StudyJob":
        """The job that runs these points' trials again with fresh seeds, the first finalist first."""
        return replace(self, finalists=tuple(dict.fromkeys(point.trial_id for point in finalists)))

    @property
    def role(self) -> Role:
        """What its trials are for."""
        return "search" if self.finalists is None else "confirm"

    @property
    def pricing(self) -> Pricing:
        """Dollars of its candidates and of its trials."""
        return Pricing.of(self.candidates, self.profiles, utilisation=self.specs.cost.utilisation)


def run_study(
    job: StudyJob, cluster: ClusterHandle, listener: Listener | None = None, *, run: RunsTrials | None = None
) -> list[TrialRecord]:
    """Run all trials of the job that the ledger does not have yet. Returns the whole ledger.

    Args:
        job: what to search, or which finalists to confirm.
        cluster: connected; `ClusterHandle.preflight` has passed.
        listener: told of starts, points and records.
        run: what a worker does with a trial; `TrialRunner` when left out.

    Raises:
        ConfigError: no size may be trained under the caps, or the budget does not hold the cheapest trial.
        KeyboardInterrupt: the user asked to end; running trials stay unfinished and are continued on resume.
    """
    ledger, pricing = job.ledger, job.pricing
    sizes, rule = allowed_sizes(job.candidates.sizes, pricing, job.specs.caps), _rule(job)
    ledger.adopt(pricing.record)
    admission = _admission(job, cluster)
    if listener is not None:
        listener.on_budget(admission.budget)
    plan = _plan(job, cluster, sizes, admission)
    plan = replace(plan, rule=rule, known_cost=lambda config: pricing.cost(config.model_size))
    proposer = None
    if job.role == "search":
        proposer = WithTeachers(_proposer(job, sizes, pricing, admission), Teachers(pricing.cost))
    dispatcher = Dispatcher(ledger, plan, proposer, pricing.record, admission, listener)
    deadline = admission.budget.deadline_s(job.role)
    run_trials(dispatcher, run or _worker(job, pricing, deadline), cluster, job.specs.training, deadline=deadline)
    if not ledger.started():
        raise ConfigError(
            f"no trial could start: {dispatcher.refusal or dispatcher.end_reason}",
            fix="raise search.budget_usd or search.minutes",
        )
    return ledger.records()


def allowed_sizes(sizes: Sequence[ModelSize], pricing: Pricing, caps: Caps) -> list[ModelSize]:
    """Model sizes that may win under the caps on dollars and latency, cheapest to serve first.

    Raises:
        ConfigError: none may.
    """
    allowed = [size for size in sizes if pricing.is_allowed(size.name, caps)]
    if not allowed:
        best = ", ".join(f"{size.name} ${pricing.cost(size.name):.4f}" for size in sizes)
        raise ConfigError(
            f"no model size may be trained under the caps; dollars per million predictions: {best}",
            fix="raise selection.max_usd_per_million or cost.traffic.p95_ms",
        )
    return sorted(allowed, key=lambda size: pricing.cost(size.name))


def _rule(job: StudyJob) -> StopRule | None:
    search = job.specs.search
    rule: StopRule | None = resolve(search.scheduler, SCHEDULERS, where="search.scheduler")(search.seed)
    # A finalist's fresh seed is a measurement: it must end.
    return rule if job.role == "search" else None


def _plan(job: StudyJob, cluster: ClusterHandle, sizes: Sequence[ModelSize], admission: BudgetAdmission) -> StudyPlan:
    search, training = job.specs.search, job.specs.training
    slots = slots_of(search, training, cluster)
    if job.role == "confirm":
        queue = _fresh_runs(job, admission, slots)
        trials = len(queue) + len(job.ledger.started("confirm"))
    else:
        queue = tuple(Queued(config) for config in start_table(sizes, training, seed=search.seed))
        trials = search.trials
    return StudyPlan(
        queue=queue,
        trials=trials,
        slots=slots,
        role=job.role,
        is_deterministic=search.is_deterministic,
        cores_per_trial=training.worker_count * training.resources.cpu,
        devices_per_trial=training.worker_count * cluster.gpus_per_worker(training.resources),
    )


def _fresh_runs(job: StudyJob, admission: BudgetAdmission, slots: int) -> tuple[Queued, ...]:
    """One fresh seed for every finalist, then the second for every finalist, ... as many as fit what is left."""
    ledger, selection = job.ledger, job.specs.selection
    finalists = [record for trial_id in job.finalists or () if (record := ledger.get(trial_id)) is not None]
    deadline_s = admission.budget.deadline_s("confirm")
    counts = round(selection.confirmation_fraction * job.specs.search.trials)
    left_usd = admission.budget.left_usd("confirm")
    left = Remaining(
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
        max_seeds(job.dataset.splits["validation"].rows, selection.confirmation_seeds),
    )
    return tuple(
        Queued(_reseeded(finalists[i].config, seed), confirms=finalists[i].trial_id) for i, seed in rounds(seeds)
    )


def _reseeded(config: TrialConfig, seed: int) -> TrialConfig:
    """The configuration with a fresh seed, and all else as it is: a distilled one keeps its teacher."""
    return config.replace(seed=config.seed + seed)


def _proposer(job: StudyJob, sizes: Sequence[ModelSize], pricing: Pricing, admission: BudgetAdmission) -> Proposer:
    search = job.specs.search
    space = build_space(sizes, job.specs.training, seed=search.seed)
    by_name = {size.name: size for size in sizes}
    caps = job.specs.caps
    # Measured seconds differ between two runs of the same seed; FLOPs do not.
    uses_measured = not search.is_deterministic

    def variants(config: TrialConfig) -> list[PricedVariant]:
        return pricing.admitted(config.model_size, caps)

    return Proposer(
        space,
        search.sampler,
        search.seed,
        lambda config: pricing.reference_cost(config.model_size),
        variants=variants,
        train_usd=lambda config: admission.expected_usd(config, uses_measured=uses_measured),
        default_rate=lambda config: default_rate(by_name[config.model_size], config.method),
    )


def _admission(job: StudyJob, cluster: ClusterHandle) -> BudgetAdmission:
    ledger, training = job.ledger, job.specs.training
    workload = Workload.of(
        job.candidates, job.dataset, training, on_gpu=cluster.gpus_per_worker(training.resources) > 0
    )
    started_s = time.time() - _busy_s(ledger)
    admission = admission_of(job.specs, job.candidates.price, workload, started_s=started_s, ran=ledger.records)
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


def _worker(job: StudyJob, pricing: Pricing, deadline: float | None) -> TrialRunner:
    template = TrialJob.of(job.candidates, job.dataset, job.specs.training, job.ledger.storage.uri)
    template = template.replace(deadline=deadline)
    linear = frozenset(size.name for size in job.candidates.sizes if size.is_linear)
    # What was not profiled can't be priced, so it is not evaluated either.
    lengths = {name: tuple(dict.fromkeys(v.max_length for v in found)) for name, found in pricing.variants.items()}
    return TrialRunner(template, linear, lengths)
