"""The most that a search may cost, no result known. In: an admission that has spent nothing. Out: totals of a plan."""

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
    """Worst cases in dollars, and what the limits hold them to."""

    search_usd: float
    """Every default trial at its worst case, and the others as dear as the dearest configuration at worst."""
    confirm_usd: float
    minutes_usd: float | None
    """What all trials at a time cost if they are busy for all the minutes; None without minutes."""
    held_to_usd: float
    """The least of worst case, budget and minutes."""

    @property
    def usd(self) -> float:
        """Search and confirmation together, no limit applied."""
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
    """Worst cases, and what the limits hold them to.

    Args:
        specs: the limits, and what a trial holds.
        admission: has spent nothing.
        queue: the start trials.
        most_expensive_config: of the space; None where no network is searched.
        slots: trials at a time.
        fresh_runs: of finalists, at most.
    """
    search, training = specs.search, specs.training
    starts = list(queue)[: search.trials]
    # The dearest start trial may be a size without epochs; nothing later is dearer than the dearest of both.
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
    """The configuration of the space that costs most to train; None where no network is searched.

    Args:
        training: its epochs and methods.
        admission: has heard of ``starts``.
        sizes: that are trained, cheapest to serve first.
        starts: a trial of each size, any of which may teach the sizes before it.
    """
    networks = [size for size in sizes if not size.is_linear]
    # What costs no dollars does not matter; of the rest, the most epochs and the smallest steps do.
    corners = training.replace(
        learning_rate=1e-4,
        layer_decay=1.0,
        epochs=_all(training.epochs)[-1:],
        batch_size=_all(training.batch_size)[:1],
        lora=training.lora.replace(alpha=1.0),
    )
    space = build_space(networks, corners)
    configs = [] if space.is_empty else space.all()
    teachers = {record.config.model_size: record.trial_id for record in starts}
    place = {size.name: number for number, size in enumerate(networks)}
    taught = [
        config.replace(teacher=teachers[dearer.name])
        for config in configs
        if config.method == DISTILL
        for dearer in networks[place[config.model_size] + 1 :]
    ]
    return max([*configs, *taught], key=admission.worst_usd, default=None)


def _all(numbers: list[int] | int) -> list[int]:
    return sorted(numbers) if isinstance(numbers, list) else [numbers]
