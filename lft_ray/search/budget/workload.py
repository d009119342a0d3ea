"""How much work a configuration is, and who says whether it may start: what study and plan have in common. Pure.

In: candidates, their data. Out: FLOPs and device of a configuration, and the `BudgetAdmission` made of them.
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

__all__ = ["Workload", "admission_of", "lost_s", "slots_of"]

COLD_START_S = 10.0
"""A worker that died is replaced in 3-10 s on two cores: process, torch, weights."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What trials of one study have to compute.

    Attributes:
        sizes: model sizes by name.
        train_tokens: mean tokens of the train split after cutting.
        validation_tokens: the same of the validation split.
        variant_tokens: tokens of the validation passes of the variants beside the reference, by model size.
        evaluations: validation passes a trial.
        train_rows: texts of the train split.
        kept_bytes: what a node may keep of the answers of frozen layers.
        network_device: ``cpu`` or ``cuda``: key of the forecast's rates for networks.
    """

    sizes: dict[str, ModelSize]
    train_tokens: float
    validation_tokens: float
    variant_tokens: dict[str, float]
    evaluations: int
    network_device: str
    train_rows: int = 0
    kept_bytes: float = 0.0

    @classmethod
    def of(cls, candidates: Candidates, dataset: DatasetRecord, training: TrainingSpec, *, on_gpu: bool) -> "Workload":
        """The work of training candidates on prepared data."""
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
            kept_bytes=training.activation_cache_gb * 1e9,
        )

    def flops(self, config: TrialConfig, ran: Sequence[TrialRecord] = (), *, alone: bool = False) -> float:
        """Floating point operations of a whole trial; see `trial_flops`.

        Args:
            config: of the trial.
            ran: trials of its run that ended, its own perhaps among them: who taught it, and whom else; who ran the
                frozen layers that it starts above.
            alone: count the pass over frozen layers even where another trial has made it: on another node, or once its
                file has gone, it is made again.
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
        if passes.shared and (alone or not passes.is_shared or self._is_first_above(config, ran)):
            both = self.train_tokens + self.validation_tokens
            own += passes.shared * self.sizes[config.model_size].flops_per_token * both
        return own + self._teaching_flops(config, ran)

    def _passes(self, config: TrialConfig) -> Passes:
        size = self.sizes[config.model_size]
        # In float32: a trial in bf16 keeps half of it.
        tokens = self.train_tokens + self.validation_tokens if config.method == FREEZE else self.train_rows
        is_kept = size.family in FAMILIES or config.method == LINEAR_PROBE
        is_kept = is_kept and 4.0 * size.hidden * tokens <= self.kept_bytes
        return passes_of(config, layers=size.layers or 1, hidden=size.hidden or 1, is_kept=is_kept)

    def _is_first_above(self, config: TrialConfig, ran: Sequence[TrialRecord]) -> bool:
        """Whether no other finished trial has run the same frozen layers before."""

        def below(other: TrialConfig) -> tuple[object, ...]:
            size = self.sizes[other.model_size]
            depth = other.frozen_layers if other.method == FREEZE else size.layers
            return (other.method, size.base, depth, other.max_length)

        alike = [
            r
            for r in ran
            if r.status is TrialStatus.DONE
            and r.config.method in {FREEZE, LINEAR_PROBE}
            and r.config.model_size in self.sizes
            and below(r.config) == below(config)
        ]
        first = min(alike, key=lambda r: (r.role != "search", trial_order(r.trial_id)), default=None)
        return first is None or first.config == config

    def _teaching_flops(self, config: TrialConfig, ran: Sequence[TrialRecord]) -> float:
        """Of the teacher's pass over train, which the first trial that it teaches makes for all."""
        teacher = next((r for r in ran if config.teacher and r.trial_id == config.teacher), None)
        if teacher is None or teacher.config.model_size not in self.sizes:
            return 0.0
        taught = [r for r in ran if r.config.teacher == config.teacher and r.status is TrialStatus.DONE]
        first = min(taught, key=lambda r: (r.role != "search", trial_order(r.trial_id)), default=None)
        if first is not None and first.config != config:
            return 0.0
        return self.sizes[teacher.config.model_size].flops_per_token * self.train_tokens

    def device(self, config: TrialConfig) -> str:
        """Key of the forecast's rates: ``linear``, ``cpu`` or ``cuda``."""
        return "linear" if self.sizes[config.model_size].is_linear else self.network_device


def lost_s(training: TrainingSpec) -> float:
    """Wall seconds that one crash of a worker can cost: what was not saved, and a cold start."""
    return training.checkpoint_every_s + COLD_START_S


def _shares(config: TrialConfig) -> bool:
    """Whether what it costs depends on the trials before it."""
    return bool(config.teacher) or config.method in {FREEZE, LINEAR_PROBE}


def slots_of(search: SearchSpec, training: TrainingSpec, cluster: ClusterHandle) -> int:
    """Trials that run at the same time."""
    slots = max(1, cluster.slots(training))
    asked = search.concurrency
    return slots if asked == "auto" else min(slots, asked)


def admission_of(
    specs: StudySpecs,
    price: Price,
    workload: Workload,
    *,
    started_s: float,
    clock: Callable[[], float] = time.time,
    ran: Callable[[], Sequence[TrialRecord]] = tuple,
) -> BudgetAdmission:
    """Dollars and minutes of a study that has spent nothing yet.

    Args:
        specs: the limits.
        price: dollars per second.
        workload: of its data.
        started_s: when its first trial began, on the clock.
        clock: seconds since the epoch.
        ran: trials that have ended; none when left out. A distilled one costs its teacher's pass if no other did.
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
        lambda config: workload.flops(config, ran() if _shares(config) else ()),
        workload.device,
        most_work=lambda config: workload.flops(config, ran() if config.teacher else (), alone=True),
        retries=MAX_FAILURES,
        lost_s=lost_s(specs.training),
        clock=clock,
    )
