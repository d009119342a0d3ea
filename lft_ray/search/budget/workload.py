"""FLOPs and device of a configuration, and the admission control built from them. Shared by study and plan. Pure.

In: candidates, their data. Out: `Workload`, number of parallel trials, `BudgetAdmission`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle
from lft_ray.config import SearchSpec, TrainingSpec
from lft_ray.config.methods import FREEZE, LINEAR_PROBE
from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import HEAD_STEP_FLOPS, Forecast, Passes, mean_tokens, passes_of, trial_flops
from lft_ray.cost.prices import Price
from lft_ray.models.architecture import FAMILIES
from lft_ray.models.sizes import ModelSize
from lft_ray.records import DatasetRecord, TrialConfig, TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order
from lft_ray.search.budget.admission import MAX_FAILURES, BudgetAdmission
from lft_ray.search.specs import StudySpecs

__all__ = ["Workload", "admission_of", "lost_s", "slots_of", "trial_memory"]

PROCESS_BYTES = 500_000_000
"""Resident memory of a worker that has imported torch, before it has built a network."""
WEIGHT_BYTES = 16
"""Per trained weight in float32: the weight, its gradient and two moments, as in `lft_ray.train.device.parallel`."""
COLD_START_S = 10.0
"""Starting a replacement worker takes 3-10 s on two cores: process, torch, weights."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The computation of the trials of one study.

    Attributes:
        sizes: model sizes by name.
        train_tokens: expected tokens of the whole train split, truncated to the trained length.
        validation_tokens: likewise for the validation split.
        variant_tokens: model size -> tokens of the validation passes of its variants other than the reference.
        evaluations: validation passes per trial.
        network_device: ``cpu`` or ``cuda``; key of the forecast's rates for networks.
        train_rows: number of rows of the train split.
        cache_bytes: maximum bytes of cached frozen-layer activations per node.
    """

    sizes: dict[str, ModelSize]
    train_tokens: float
    validation_tokens: float
    variant_tokens: dict[str, float]
    evaluations: int
    network_device: str
    train_rows: int = 0
    cache_bytes: float = 0.0

    @classmethod
    def of(cls, candidates: Candidates, dataset: DatasetRecord, training: TrainingSpec, *, on_gpu: bool) -> "Workload":
        """The workload of training candidates on a prepared dataset."""
        tokens = {length: mean_tokens(dataset, length) for length in candidates.max_lengths}
        rows = dataset.splits["validation"].rows
        return cls(
            sizes={size.name: size for size in candidates.sizes},
            train_tokens=dataset.splits["train"].rows * tokens[training.max_length],
            validation_tokens=rows * tokens[training.max_length],
            variant_tokens={
                name: rows * sum(tokens[variant.max_length] for variant in variants[1:])
                for name, variants in candidates.variants.items()
            },
            evaluations=training.evaluations,
            network_device="cuda" if on_gpu else "cpu",
            train_rows=dataset.splits["train"].rows,
            cache_bytes=training.activation_cache_gb * 1e9,
        )

    def flops(self, config: TrialConfig, ran: Sequence[TrialRecord] = (), *, uncached: bool = False) -> float:
        """Floating point operations of a whole trial; see `trial_flops`.

        Args:
            config: configuration of the trial.
            ran: ended trials of the run, possibly including this one. They determine the teacher, and whether teacher
                predictions or frozen-layer activations are already cached.
            uncached: whether to count the pass over frozen layers even if another trial has made it: on another node,
                or after the cache file was deleted, it is recomputed.
        """
        passes = self._passes(config)
        own = trial_flops(
            config,
            flops_per_token=self.sizes[config.model_size].flops_per_token,
            train_tokens=self.train_tokens,
            validation_tokens=self.validation_tokens,
            evaluations=self.evaluations,
            variant_tokens=self.variant_tokens[config.model_size],
            passes=passes,
        )
        if config.method == LINEAR_PROBE:
            own += HEAD_STEP_FLOPS * (config.epochs or 1) * math.ceil(self.train_rows / (config.batch_size or 1))
        if passes.shared and (uncached or not passes.is_shared or self._fills_cache(config, ran)):
            both = self.train_tokens + self.validation_tokens
            own += passes.shared * self.sizes[config.model_size].flops_per_token * both
        return own + self._teaching_flops(config, ran)

    def _passes(self, config: TrialConfig) -> Passes:
        size = self.sizes[config.model_size]
        # 4 bytes per activation (float32); bf16 trials store half of that.
        tokens = self.train_tokens + self.validation_tokens if config.method == FREEZE else self.train_rows
        is_cached = size.family in FAMILIES or config.method == LINEAR_PROBE
        is_cached = is_cached and 4.0 * size.hidden * tokens <= self.cache_bytes
        return passes_of(config, layers=size.layers or 1, hidden=size.hidden or 1, is_cached=is_cached)

    def _fills_cache(self, config: TrialConfig, ran: Sequence[TrialRecord]) -> bool:
        """Whether this trial computes the activations: no earlier trial with the same frozen layers has finished."""

        def frozen_part(other: TrialConfig) -> tuple[object, ...]:
            size = self.sizes[other.model_size]
            depth = other.frozen_layers if other.method == FREEZE else size.layers
            return (other.method, size.base, depth, other.max_length)

        sharing = [
            r
            for r in ran
            if r.status is TrialStatus.DONE
            and r.config.method in {FREEZE, LINEAR_PROBE}
            and r.config.model_size in self.sizes
            and frozen_part(r.config) == frozen_part(config)
        ]
        first = min(sharing, key=lambda r: (r.role != "search", trial_order(r.trial_id)), default=None)
        return first is None or first.config == config

    def _teaching_flops(self, config: TrialConfig, ran: Sequence[TrialRecord]) -> float:
        """FLOPs of the teacher's pass over the train split, made once by the first trial that this teacher teaches."""
        teacher = next((r for r in ran if config.teacher and r.trial_id == config.teacher), None)
        if teacher is None or teacher.config.model_size not in self.sizes:
            return 0.0
        students = [r for r in ran if r.config.teacher == config.teacher and r.status is TrialStatus.DONE]
        first = min(students, key=lambda r: (r.role != "search", trial_order(r.trial_id)), default=None)
        if first is not None and first.config != config:
            return 0.0
        return self.sizes[teacher.config.model_size].flops_per_token * self.train_tokens

    def device(self, config: TrialConfig) -> str:
        """Key of the forecast's rates for a configuration: ``linear``, ``cpu`` or ``cuda``."""
        return "linear" if self.sizes[config.model_size].is_linear else self.network_device


def trial_memory(sizes: Sequence[ModelSize]) -> Callable[[TrialConfig], float]:
    """Rough bytes of the process of a trial: Python with torch, and weights, gradients and moments in float32."""
    by_name = {size.name: PROCESS_BYTES + WEIGHT_BYTES * size.params for size in sizes}
    return lambda config: float(by_name.get(config.model_size, PROCESS_BYTES))


def lost_s(training: TrainingSpec) -> float:
    """Maximum wall seconds lost to one worker crash: work since the last checkpoint, and a cold start."""
    return training.checkpoint_every_s + COLD_START_S


def _depends_on_earlier_trials(config: TrialConfig) -> bool:
    """Whether the trial's cost depends on earlier trials (cached teacher predictions or activations)."""
    return bool(config.teacher) or config.method in {FREEZE, LINEAR_PROBE}


def slots_of(search: SearchSpec, training: TrainingSpec, cluster: ClusterHandle) -> int:
    """Number of trials that run in parallel."""
    slots = max(1, cluster.slots(training))
    limit = search.concurrency
    return slots if limit == "auto" else min(slots, limit)


def admission_of(
    specs: StudySpecs,
    price: Price,
    workload: Workload,
    *,
    started_s: float,
    clock: Callable[[], float] = time.time,
    ran: Callable[[], Sequence[TrialRecord]] = tuple,
) -> BudgetAdmission:
    """Admission control for a study that has spent nothing yet.

    Args:
        specs: limits and training config of the study.
        price: dollars per second.
        workload: workload of the study's trials.
        started_s: when the first trial began, in the clock's seconds.
        clock: seconds since the epoch.
        ran: returns the ended trials, which decide whether a trial pays for its teacher's pass; default none.
    """
    budget = Budget(
        budget_usd=specs.search.budget_usd,
        minutes=specs.search.minutes,
        confirmation_fraction=specs.selection.confirmation_fraction,
        started_s=started_s,
    )
    return BudgetAdmission(
        budget,
        Forecast(),
        price,
        lambda config: workload.flops(config, ran() if _depends_on_earlier_trials(config) else ()),
        workload.device,
        worst_case_work=lambda config: workload.flops(config, ran() if config.teacher else (), uncached=True),
        retries=MAX_FAILURES,
        lost_s=lost_s(specs.training),
        clock=clock,
    )
