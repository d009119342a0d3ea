"""Worst-case cost of a search, before any result. In: an admission that has spent nothing. Out: `Totals` of a plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import DISTILL
from lft_ray.cost.dollars import training_usd
from lft_ray.models.sizes import ModelSize
from lft_ray.records import TrialConfig, TrialRecord, Usage
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.space import build_space
from lft_ray.search.specs import StudySpecs

__all__ = ["Totals", "most_expensive", "totals"]


@dataclass(frozen=True, slots=True)
class Totals:
    """Worst-case dollars, before and after the limits."""

    search_usd: float
    """Every default trial at its worst case, all other trials at the worst case of the most expensive configuration."""
    confirm_usd: float
    """All confirmation runs at the worst case of the most expensive configuration."""
    minutes_usd: float | None
    """Cost of all parallel trials if they are busy for all the minutes; None without a limit on minutes."""
    held_to_usd: float
    """Upper bound of the bill: the minimum of worst case, budget and minutes."""

    @property
    def usd(self) -> float:
        """Search and confirmation together, before limits."""
        return self.search_usd + self.confirm_usd


def totals(
    specs: StudySpecs,
    admission: BudgetAdmission,
    queue: Sequence[TrialConfig],
    most_expensive_config: TrialConfig | None,
    *,
    slots: int,
    fresh_runs: int,
) -> Totals:
    """Sum up the worst cases and apply the limits.

    Args:
        specs: limits of the search, and resources of a trial.
        admission: admission control that has spent nothing.
        queue: start trials.
        most_expensive_config: most expensive configuration of the space; None if no network is searched.
        slots: number of trials in parallel.
        fresh_runs: maximum number of confirmation runs.
    """
    search, training = specs.search, specs.training
    starts = list(queue)[: search.trials]
    # The most expensive trial can also be a start trial, such as TF-IDF, which is not in the space.
    worst_later = max(
        (admission.worst_usd(c) for c in [*starts, *([most_expensive_config] if most_expensive_config else [])]),
        default=0.0,
    )
    worst_search = sum(admission.worst_usd(c) for c in starts) + max(0, search.trials - len(starts)) * worst_later
    minutes_usd = None
    if search.minutes is not None:
        on_gpu = any(admission.device(c) == "cuda" for c in starts)
        seconds = search.minutes * 60.0 * slots * training.worker_count
        held = Usage(core_s=seconds * training.resources.cpu, device_s=seconds if on_gpu else 0.0)
        minutes_usd = training_usd(held, admission.price)
    worst = worst_search + fresh_runs * worst_later
    limits = [usd for usd in (worst, admission.budget.budget_usd, minutes_usd) if usd is not None]
    return Totals(worst_search, fresh_runs * worst_later, minutes_usd, min(limits))


def most_expensive(
    training: TrainingSpec, admission: BudgetAdmission, sizes: Sequence[ModelSize], starts: Sequence[TrialRecord]
) -> TrialConfig | None:
    """The configuration of the space that costs most to train; None if no network is searched.

    Args:
        training: epochs and methods of the search.
        admission: admission control that knows the trials in ``starts``.
        sizes: model sizes to train, cheapest to serve first.
        starts: a finished trial of each size, a possible teacher of all cheaper sizes.
    """
    networks = [size for size in sizes if not size.is_linear]
    # Fields without influence on cost are fixed; the cost is highest at most epochs and the smallest batch size.
    corners = training.replace(
        learning_rate=1e-4,
        layer_decay=1.0,
        class_weights="none",
        epochs=_all(training.epochs)[-1:],
        batch_size=_all(training.batch_size)[:1],
        lora=training.lora.replace(alpha=1.0),
    )
    space = build_space(networks, corners)
    configs = [] if space.is_empty else space.all()
    teachers = {record.config.model_size: record.trial_id for record in starts}
    index = {size.name: number for number, size in enumerate(networks)}
    distilled = [
        config.replace(teacher=teachers[larger.name])
        for config in configs
        if config.method == DISTILL
        for larger in networks[index[config.model_size] + 1 :]
    ]
    return max([*configs, *distilled], key=admission.worst_usd, default=None)


def _all(numbers: list[int] | int) -> list[int]:
    return sorted(numbers) if isinstance(numbers, list) else [numbers]
