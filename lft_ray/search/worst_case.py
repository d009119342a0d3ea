"""The most that a search may cost, no result known. In: an admission that has spent nothing. Out: totals of a plan."""

from collections.abc import Sequence
from typing import Any

from lft_ray.config import Experiment
from lft_ray.cost.training import training_usd
from lft_ray.methods import DISTIL
from lft_ray.models.base import ModelSize
from lft_ray.records import TrialConfig, TrialRecord, Usage
from lft_ray.search.admission import BudgetAdmission
from lft_ray.search.space import build_space

__all__ = ["dearest", "totals"]


def totals(
    experiment: Experiment,
    admission: BudgetAdmission,
    queue: Sequence[TrialConfig],
    dearest_config: TrialConfig | None,
    *,
    slots: int,
    fresh_runs: int,
) -> dict[str, Any]:
    """Worst cases, and what the limits hold them to; ``fresh_runs``: of finalists, at most."""
    search, training, budget = experiment.search, experiment.training, admission.budget
    starts = list(queue)[: search.trials]
    # The dearest start trial may be a size without epochs; nothing later is dearer than the dearest of both.
    worst_later = max(
        (admission.worst_usd(c) for c in [*starts, *([dearest_config] if dearest_config else [])]), default=0.0
    )
    worst_search = sum(admission.worst_usd(c) for c in starts) + max(0, search.trials - len(starts)) * worst_later
    worst = worst_search + fresh_runs * worst_later
    minutes_usd = None
    if search.minutes is not None:
        on_gpu = any(admission.device(c) == "cuda" for c in starts)
        seconds = search.minutes * 60.0 * slots * training.worker_count
        held = Usage(core_s=seconds * training.resources.cpu, device_s=seconds if on_gpu else 0.0)
        minutes_usd = training_usd(held, admission.price)
    limits = [usd for usd in (worst, budget.budget_usd, minutes_usd) if usd is not None]
    return {
        "worst_search_usd": worst_search,
        "confirm_trials": fresh_runs,
        "worst_confirm_usd": fresh_runs * worst_later,
        "worst_usd": worst,
        "budget_usd": budget.budget_usd,
        "kept_for_confirmation_usd": budget.kept_for_confirmation_usd,
        "minutes": search.minutes,
        "minutes_usd": minutes_usd,
        "held_to_usd": min(limits),
    }


def dearest(
    experiment: Experiment, admission: BudgetAdmission, sizes: Sequence[ModelSize], starts: Sequence[TrialRecord]
) -> TrialConfig | None:
    """The configuration of the space that costs most to train; None where no network is searched.

    Args:
        experiment: its epochs and methods.
        admission: has heard of ``starts``.
        sizes: that are trained, cheapest to serve first.
        starts: a trial of each size, any of which may teach the sizes before it.
    """
    training, networks = experiment.training, [size for size in sizes if not size.is_linear]
    # What costs no dollars does not matter; of the rest, the most epochs and the smallest steps do.
    corners = {"learning_rate": 1e-4, "layer_decay": 1.0, "epochs": _all(training.epochs)[-1:]}
    corners |= {"batch_size": _all(training.batch_size)[:1], "lora": training.lora.model_copy(update={"alpha": 1.0})}
    space = build_space(networks, training.model_copy(update=corners))
    configs = [] if space.is_empty else space.all()
    teachers = {record.config.model_size: record.trial_id for record in starts}
    place = {size.name: number for number, size in enumerate(networks)}
    taught = [
        config.model_copy(update={"teacher": teachers[dearer.name]})
        for config in configs
        if config.method == DISTIL
        for dearer in networks[place[config.model_size] + 1 :]
    ]
    return max([*configs, *taught], key=admission.worst_usd, default=None)


def _all(numbers: list[int] | int) -> list[int]:
    return sorted(numbers) if isinstance(numbers, list) else [numbers]
