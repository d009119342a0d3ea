"""Run a study: from candidates, prepared data and serving profiles to trial records in the ledger.

In: `StudyJob`, a connected cluster. Out: the whole ledger. To resume, call it again: trials with a record are not
rerun, started trials are continued under their ID, and new proposals depend on the ledger alone.
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
from lft_ray.search.budget.nominal import NominalCosts, WithNominalCosts, by_size
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.budget.workload import Workload, admission_of, slots_of, trial_memory
from lft_ray.search.confirm import Remaining, fresh_seeds, max_seeds, rounds, run_cost
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.endings import Endings
from lft_ray.search.interfaces import Listener, ProposerProtocol, Queued, StudyPlan
from lft_ray.search.samplers.proposer import Proposer
from lft_ray.search.samplers.teachers import Teachers, WithTeachers
from lft_ray.search.space import build_space, default_rate, start_table
from lft_ray.search.specs import StudySpecs
from lft_ray.search.stopping.base import StopRule
from lft_ray.search.tune.trainable import RunsTrials, TrialRunner
from lft_ray.search.tune.tuner import run_trials
from lft_ray.selection.coverage import REFUSED, Refused
from lft_ray.selection.screening import is_linear
from lft_ray.train.job import TrialJob

__all__ = ["StudyJob", "allowed_sizes", "run_study"]


@dataclass(frozen=True, slots=True)
class StudyJob:
    """Inputs of a study.

    Attributes:
        ledger: ledger of the run.
        candidates: model sizes and variants that may be trained and served.
        dataset: prepared dataset.
        profiles: serving profile of each model size; a size without a profile can't be searched.
        specs: search, training, selection and cost sections of the experiment.
        finalists: IDs of trials to repeat with fresh seeds; None: run the search.
    """

    ledger: Ledger
    candidates: Candidates
    dataset: DatasetRecord
    profiles: ProfileBook
    specs: StudySpecs
    finalists: tuple[str, ...] | None = None

    def confirming(self, finalists: Sequence[FrontPoint]) -> "StudyJob":
        """The job that repeats the trials of these points with fresh seeds, in the order of the finalists.

        Linear models are left out: another seed trains the same model, and selection counts their one run.
        """
        repeated = [point.trial_id for point in finalists if not is_linear(point.model_size)]
        return replace(self, finalists=tuple(dict.fromkeys(repeated)))

    @property
    def role(self) -> Role:
        """Role of the trials: search or confirm."""
        return "search" if self.finalists is None else "confirm"

    @property
    def pricing(self) -> Pricing:
        """Prices of the candidates and of the trials."""
        return Pricing.of(self.candidates, self.profiles, utilisation=self.specs.cost.utilisation)

    @property
    def nominal(self) -> NominalCosts | None:
        """Costs for all decisions of a search that must repeat itself; None: it has a clock, and uses measured ones."""
        if not self.specs.search.is_deterministic:
            return None
        return NominalCosts.of(self.candidates, self.dataset, utilisation=self.specs.cost.utilisation)

    @property
    def costs(self) -> Pricing | NominalCosts:
        """Costs by which trials are proposed and stopped early."""
        return self.nominal or self.pricing


def run_study(
    job: StudyJob, cluster: ClusterHandle, listener: Listener | None = None, *, run: RunsTrials | None = None
) -> list[TrialRecord]:
    """Run all trials of the job that are not in the ledger yet. Returns the records of the whole ledger.

    Args:
        job: search to run, or finalists to confirm.
        cluster: connected cluster; `ClusterHandle.preflight` has passed.
        listener: receives starts, curve points and records.
        run: runs one trial in a worker; default `TrialRunner`.

    Raises:
        ConfigError: no model size meets the caps, or the budget is too small for the cheapest trial.
        KeyboardInterrupt: the user interrupted; running trials stay unfinished and are continued on resume.
    """
    ledger, pricing = job.ledger, job.pricing
    sizes, rule = allowed_sizes(job.candidates.sizes, pricing, job.specs.caps), _rule(job)
    costs = job.costs
    ledger.adopt(pricing.record)
    admission = _admission(job, cluster)
    if listener is not None:
        listener.on_budget(admission.budget)
    plan = _plan(job, cluster, sizes, admission)
    plan = replace(plan, rule=rule, known_cost=lambda config: costs.cost(config.model_size))
    proposer = None
    if job.role == "search":
        proposer = _wrapped(job, _proposer(job, sizes, pricing, admission))
    endings = _endings(job, plan, cluster)
    dispatcher = Dispatcher(ledger, plan, proposer, pricing.record, admission, listener, endings=endings)
    deadline = admission.budget.deadline_s(job.role)
    run_trials(dispatcher, run or _worker(job, pricing, deadline), cluster, job.specs.training, deadline=deadline)
    if job.role == "search":
        # Why a size was never tried must still be known when the report is written, perhaps by another process.
        ledger.storage.put(REFUSED, Refused(sizes=dispatcher.refusals).model_dump_json(indent=1))
    if not ledger.started():
        raise ConfigError(
            f"no trial could start: {dispatcher.refusal or dispatcher.end_reason}",
            fix="raise search.budget_usd or search.minutes",
        )
    return ledger.records()


def allowed_sizes(sizes: Sequence[ModelSize], pricing: Pricing, caps: Caps) -> list[ModelSize]:
    """Model sizes that meet the caps on serving dollars and latency, fewest FLOPs first.

    The caps are judged by measured dollars; the order is not, since it decides which trials run.

    Raises:
        ConfigError: no model size meets the caps.
    """
    allowed = [size for size in sizes if pricing.is_allowed(size.name, caps)]
    if not allowed:
        costs = ", ".join(f"{size.name} ${pricing.cost(size.name):.4f}" for size in sizes)
        raise ConfigError(
            f"no model size meets the caps; dollars per million predictions: {costs}",
            fix="raise selection.max_usd_per_million or cost.traffic.p95_ms",
        )
    return sorted(allowed, key=by_size)


def _endings(job: StudyJob, plan: StudyPlan, cluster: ClusterHandle) -> Endings:
    """Deaths of workers on this machine can be told apart by its kernel; those on other nodes cannot."""
    place = job.ledger.storage.uri
    if len(cluster.nodes) > 1:
        return Endings(place, plan.memory_bytes)
    return Endings.on_this_machine(place, plan.memory_bytes)


def _rule(job: StudyJob) -> StopRule | None:
    search, nominal = job.specs.search, job.nominal
    rule: StopRule | None = resolve(search.scheduler, SCHEDULERS, where="search.scheduler")(search.seed)
    rule = nominal.rule(rule) if nominal is not None and rule is not None else rule
    # Confirmation runs are measurements and must run to completion.
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
        memory_bytes=trial_memory(job.candidates.sizes),
    )


def _fresh_runs(job: StudyJob, admission: BudgetAdmission, slots: int) -> tuple[Queued, ...]:
    """Repeat runs that fit the remaining limits: the first seed of every finalist, then the second of each, ..."""
    ledger, selection = job.ledger, job.specs.selection
    finalists = [record for trial_id in job.finalists or () if (record := ledger.get(trial_id)) is not None]
    deadline_s = admission.budget.deadline_s("confirm")
    fixed_runs = round(selection.confirmation_fraction * job.specs.search.trials)
    left_usd = admission.budget.left_usd("confirm")
    left = Remaining(
        usd=left_usd,
        wall_s=None if deadline_s is None else deadline_s - admission.clock(),
        # Without minutes or a budget the plan must not depend on the machine or the time of day.
        runs=fixed_runs if deadline_s is None and left_usd is None else None,
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
    """The configuration with a fresh seed and otherwise unchanged: a distilled one keeps its teacher."""
    return config.replace(seed=config.seed + seed)


def _proposer(job: StudyJob, sizes: Sequence[ModelSize], pricing: Pricing, admission: BudgetAdmission) -> Proposer:
    search, nominal, costs = job.specs.search, job.nominal, job.costs
    space = build_space(sizes, job.specs.training, seed=search.seed)
    by_name = {size.name: size for size in sizes}
    caps = job.specs.caps
    # Deterministic mode: measured seconds differ between two runs with the same seed; FLOPs do not.
    uses_measured = not search.is_deterministic

    def variants(config: TrialConfig) -> list[PricedVariant]:
        admitted = pricing.admitted(config.model_size, caps)
        return admitted if nominal is None else nominal.priced(config.model_size, admitted)

    return Proposer(
        space,
        search.sampler,
        search.seed,
        lambda config: costs.reference_cost(config.model_size),
        variants=variants,
        train_usd=lambda config: admission.expected_usd(config, uses_measured=uses_measured),
        default_rate=lambda config: default_rate(by_name[config.model_size], config.method),
    )


def _wrapped(job: StudyJob, proposer: ProposerProtocol) -> ProposerProtocol:
    """The proposer in the costs by which the study decides, and with teachers for distilled proposals."""
    proposer = proposer if job.nominal is None else WithNominalCosts(proposer, job.nominal)
    return WithTeachers(proposer, Teachers(job.costs.cost))


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
    """Wall seconds in which earlier sessions ran trials: the time between a crash and a resume does not count."""
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
    # Lengths without a serving profile can't be priced, so trials are not evaluated at them either.
    lengths = {name: tuple(dict.fromkeys(v.max_length for v in found)) for name, found in pricing.variants.items()}
    return TrialRunner(template, linear, lengths)
