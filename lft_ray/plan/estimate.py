"""Estimate the cost of a search and its candidates before anything is spent. In: `PlanJob`. Out: `Estimate`.

Uses the workload, forecast, budget and prices of the study itself (`workload`, `pricing`). Never trains, never starts
anything. Training cost is always predicted; serving cost is measured if an earlier run profiled the model size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cost.forecast import DEFAULT_RATES, mean_tokens
from lft_ray.data.fit import FIT_CODES
from lft_ray.models.sizes import ModelSize
from lft_ray.plan.history import RunHistory
from lft_ray.plan.serving_costs import ServingCosts, Source
from lft_ray.plan.simulate import SearchSimulation
from lft_ray.plan.worst_case import most_expensive, totals
from lft_ray.records import DatasetRecord, Record, TrialConfig, TrialRecord, TrialStatus
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.workload import Workload, admission_of, slots_of
from lft_ray.search.confirm import max_runs, max_seeds
from lft_ray.search.samplers.teachers import Teachers
from lft_ray.search.space import build_space, start_table
from lft_ray.search.specs import StudySpecs
from lft_ray.selection.power import Power, power_of

__all__ = ["Candidate", "Estimate", "PlanJob", "estimate"]


class Candidate(Record):
    """One model size, with its default configuration."""

    model_size: str
    parameters: int | None
    """Number of weights without the head; None if it depends on the data (TF-IDF)."""
    layers: int | None
    seed_ratio: float | None
    """M = parameters / sqrt(train rows)."""
    default: TrialConfig
    predicted_s: float
    """Wall seconds of the default trial."""
    predicted_usd: float
    worst_usd: float
    """Worst-case dollars including retries: the trial starts only if the budget covers them."""
    serving_usd_per_million: float
    serving_source: Source
    p95_ms: float | None
    """Measured HTTP p95; None if not measured."""
    refused: str = ""
    """Why this size would not be trained; empty if it would."""


class Estimate(Record):
    """The result of ``lft plan``."""

    name: str
    rows: dict[str, int]
    """Split -> rows."""
    mean_tokens: float
    """Mean tokens per text of the train split, truncated to max_length."""
    max_length: int
    device: str
    trials_at_a_time: int
    price: str
    price_as_of: str
    usd_per_core_hour: float
    training_rates: str
    """Source of the predicted seconds: finished trials of a run, or default rates."""
    serving_rates: str
    """Source of the predicted serving dollars; empty if all are measured."""
    candidates: list[Candidate]
    """Cheapest to serve first."""
    trials: int
    """Number of trials of the search, as configured."""
    expected_trials: int
    """Number of trials that fit the limits if each takes its predicted time and cost."""
    expected_usd: float
    expected_minutes: float
    worst_search_usd: float
    """Every default trial at its worst case, all other trials at the worst case of the most expensive configuration."""
    confirmation_trials: int
    worst_confirm_usd: float
    worst_usd: float
    """Search and confirmation together, before limits."""
    budget_usd: float | None
    kept_for_confirmation_usd: float
    minutes: float | None
    minutes_usd: float | None
    """Cost of all parallel trials if they are busy for all the minutes."""
    held_to_usd: float
    """Upper bound of the bill: the minimum of worst case, budget and minutes."""
    decides: Power
    """What difference in F1 the validation rows can decide, against the configured margin."""
    notes: list[str]


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Inputs of a plan.

    Attributes:
        name: name of the run.
        candidates: model sizes and variants that may be trained and served.
        dataset: prepared dataset; only row counts and lengths are read.
        specs: search, training, selection and cost sections of the experiment.
        cluster_address: address of the cluster that would run the search; None: this machine.
    """

    name: str
    candidates: Candidates
    dataset: DatasetRecord
    specs: StudySpecs
    cluster_address: str | None = None


def estimate(
    job: PlanJob,
    cluster: ClusterHandle,
    history: RunHistory,
    matmul_flops_per_s: Callable[[], float] | None = None,
) -> Estimate:
    """Estimate the cost of a search that has not started.

    Args:
        job: inputs of the plan.
        cluster: resources of the nodes; no connection is made.
        history: measurements of earlier runs.
        matmul_flops_per_s: measures the FLOP/s of one core, called if a serving cost must be predicted; None: the
            default rate is used.
    """
    dataset, search, training = job.dataset, job.specs.search, job.specs.training
    workload = Workload.of(job.candidates, dataset, training, on_gpu=cluster.gpus_per_worker(training.resources) > 0)
    serving = ServingCosts.of(job.candidates, dataset, job.specs, history, matmul_flops_per_s)
    sizes = sorted(workload.sizes.values(), key=lambda size: serving.usd(size)[0])
    configs = {c.model_size: c for c in start_table(sizes, training, seed=search.seed)}
    starts = _simulated_start([configs[size.name] for size in sizes])
    admission = _admission(job, workload, history, starts)
    slots, rows = slots_of(search, training, cluster), dataset.splits["train"].rows
    candidates = [_candidate(size, configs[size.name], admission, serving, rows) for size in sizes]
    trained = [configs[c.model_size] for c in candidates if not c.refused]
    most_expensive_config = most_expensive(training, admission, [workload.sizes[c.model_size] for c in trained], starts)
    networks = sum(not workload.sizes[c.model_size].is_linear for c in trained)
    fresh_runs = max_runs(job.specs.selection, search, dataset.splits["validation"].rows, sizes=networks)
    simulation = _simulate(job, workload, history, serving, trained, slots)
    candidates = [_with_refusal(c, configs[c.model_size], simulation) for c in candidates]
    worst = totals(job.specs, admission, trained, most_expensive_config, slots=slots, fresh_runs=fresh_runs)
    return Estimate(
        name=job.name,
        rows={name: split.rows for name, split in dataset.splits.items()},
        mean_tokens=mean_tokens(dataset, training.max_length),
        max_length=training.max_length,
        device=workload.network_device,
        trials_at_a_time=slots,
        price=job.candidates.price.name,
        price_as_of=job.candidates.price.as_of,
        usd_per_core_hour=job.candidates.price.training_usd_per_core_s * 3600.0,
        training_rates=_training_rates(history),
        serving_rates=serving.rates if any(c.serving_source == "predicted" for c in candidates) else "",
        candidates=candidates,
        trials=search.trials,
        expected_trials=len(simulation.started),
        expected_usd=simulation.spent_usd,
        expected_minutes=simulation.ended_s / 60.0,
        worst_search_usd=worst.search_usd,
        confirmation_trials=fresh_runs,
        worst_confirm_usd=worst.confirm_usd,
        worst_usd=worst.usd,
        budget_usd=search.budget_usd,
        kept_for_confirmation_usd=admission.budget.confirmation_reserve_usd,
        minutes=search.minutes,
        minutes_usd=worst.minutes_usd,
        held_to_usd=worst.held_to_usd,
        decides=_power(job),
        notes=_notes(job, cluster, candidates, simulation),
    )


def _power(job: PlanJob) -> Power:
    validation, selection = job.dataset.splits["validation"], job.specs.selection
    return power_of(
        validation.label_counts,
        validation.rows,
        task=job.candidates.task,
        margin=selection.margin,
        seeds=max_seeds(validation.rows, selection.confirmation_seeds),
    )


def _simulated_start(configs: Sequence[TrialConfig]) -> list[TrialRecord]:
    """Records of the start trials as finished trials, which can be teachers."""
    return [
        TrialRecord(trial_id=f"t{i:03d}", attempt=1, config=config, status=TrialStatus.DONE)
        for i, config in enumerate(configs)
    ]


def _simulate(
    job: PlanJob,
    workload: Workload,
    history: RunHistory,
    serving: ServingCosts,
    starts: Sequence[TrialConfig],
    slots: int,
) -> SearchSimulation:
    search = job.specs.search
    ended: list[TrialRecord] = []
    sizes = [workload.sizes[config.model_size] for config in starts]
    return SearchSimulation(
        _admission(job, workload, history, ended),
        Teachers(lambda name: serving.usd(workload.sizes[name])[0]),
        ended,
        queue=starts,
        space=build_space(sizes, job.specs.training, seed=search.seed),
        trials=search.trials,
        slots=slots,
        seed=search.seed,
    ).run()


def _admission(job: PlanJob, workload: Workload, history: RunHistory, ran: list[TrialRecord]) -> BudgetAdmission:
    price = job.candidates.price
    admission = admission_of(job.specs, price, workload, started_s=0.0, clock=lambda: 0.0, ran=lambda: ran)
    for flops, usage, device in history.trials:
        admission.forecast.observe(flops, usage, device=device)
    return admission


def _candidate(
    size: ModelSize,
    config: TrialConfig,
    admission: BudgetAdmission,
    serving: ServingCosts,
    train_rows: int,
) -> Candidate:
    usd, source = serving.usd(size)
    refused = serving.breach(size)
    if not refused:
        # Each size on its own, with nothing spent. As in the study, an unmeasured time estimate refuses nothing.
        refused = admission.verdict(config, "search").reason
    return Candidate(
        model_size=size.name,
        parameters=size.params or None,
        layers=size.layers,
        seed_ratio=size.params / math.sqrt(train_rows) if size.params else None,
        default=config,
        predicted_s=admission.expected(config).wall_s,
        predicted_usd=admission.expected_usd(config),
        worst_usd=admission.worst_usd(config),
        serving_usd_per_million=usd,
        serving_source=source,
        p95_ms=serving.p95_ms(size),
        refused=refused,
    )


def _with_refusal(candidate: Candidate, config: TrialConfig, simulation: SearchSimulation) -> Candidate:
    if candidate.refused or config in simulation.started:
        return candidate
    reason = simulation.refused.get(config.model_size, "the trials before it use up the limits")
    return candidate.replace(refused=reason)


def _training_rates(history: RunHistory) -> str:
    if history.trials:
        return f"{len(history.trials)} finished trials of {history.trained_in}"
    cpu = DEFAULT_RATES["cpu"]
    gflops = f"{cpu.flops_per_s / 1e9:.0f} GFLOP/s per core"
    return f"default rates ({gflops}, {cpu.start_s:.0f} s to start), deliberately slow"


def _notes(
    job: PlanJob, cluster: ClusterHandle, candidates: Sequence[Candidate], simulation: SearchSimulation
) -> list[str]:
    notes = []
    training, search = job.specs.training, job.specs.search
    if training.workers == "auto":
        notes.append(
            "training.workers: auto is resolved when the search measures a trial's memory; this plan assumes 1"
        )
    if cluster.slots(training) < 1:
        notes.append(
            f"a trial requests {training.worker_count} x {training.resources.cpu:g} cores, more than this machine has: "
            "it could not be scheduled here"
        )
    if job.cluster_address is not None:
        notes.append(
            f"no cluster was contacted: {job.cluster_address} may run more trials in parallel than this machine"
        )
    if job.specs.caps.p95_ms is not None and any(c.p95_ms is None for c in candidates):
        notes.append("cost.traffic.p95_ms cannot be checked before profiling: latency is measured, never predicted")
    if simulation.stopped:
        notes.append(f"{simulation.stopped} trials would still be running at the deadline and be stopped")
    if len(simulation.started) < search.trials:
        given = [name for name in ("budget_usd", "minutes") if getattr(search, name) is not None]
        share = f"{len(simulation.started)} of {search.trials} trials"
        limits = f"search.{' and search.'.join(given)}" if given else "the space"
        notes.append(f"{limits}: {share} fit" + (" if each takes its predicted time and cost" if given else ""))
    notes += [f"{problem.message}; {problem.fix}" for problem in job.dataset.problems if problem.code in FIT_CODES]
    return notes
