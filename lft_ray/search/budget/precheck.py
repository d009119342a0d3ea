"""Refuse limits and disks that hold no trial, before Ray starts. In: the experiment's sections. Out: an error.

The worst case is the one that `lft plan` shows and that admission reserves; it needs no cluster. Never spends anything.
"""

import time
from collections.abc import Callable, Sequence

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import this_machine
from lft_ray.errors import ConfigError
from lft_ray.records import DatasetRecord, TrialConfig
from lft_ray.run.ledger import Ledger
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.disk import check_room, disk_forecast
from lft_ray.search.budget.workload import Workload, admission_of, slots_of
from lft_ray.search.space import start_table
from lft_ray.search.specs import StudySpecs

__all__ = ["check_limits", "check_start"]

FASTEST_START_S = 3.0
"""A worker process needs at least this long to start and import."""


def check_start(
    specs: StudySpecs,
    candidates: Candidates,
    dataset: DatasetRecord,
    ledger: Ledger,
    log: Callable[[str], None],
    *,
    owned: bool,
) -> None:
    """Check the disk and the limits of a search before Ray starts.

    Args:
        specs: sections of the experiment.
        candidates: model sizes that may be trained.
        dataset: prepared data.
        ledger: ledger of the run. Limits are checked for a fresh search only: a resumed one has spent some of them.
        log: told where the disk is tight.
        owned: whether the search starts a cluster on this machine; the devices of another are not known yet.

    Raises:
        StorageError: the disk has no room for one trial.
        ConfigError: see `check_limits`.
    """
    training, search = specs.training, specs.search
    machine = this_machine() if owned else None
    open_trials = search.trials - len(ledger.records("search"))
    slots = 1 if machine is None or training.workers == "auto" else slots_of(search, training, machine)
    if open_trials > 0:
        forecast = disk_forecast(candidates.sizes, training, trials=open_trials, slots=slots)
        if warning := check_room(ledger.storage.uri, forecast):
            log(f"warning: {warning}")
    if machine is None or ledger.started() or (search.budget_usd is None and search.minutes is None):
        return
    workload = Workload.of(candidates, dataset, training, on_gpu=machine.gpus > 0)
    admission = admission_of(specs, candidates.price, workload, started_s=time.time())
    check_limits(admission, start_table(candidates.sizes, training, seed=search.seed))


def check_limits(admission: BudgetAdmission, starts: Sequence[TrialConfig]) -> None:
    """Refuse a budget or minutes into which not even the cheapest start trial fits.

    Args:
        admission: admission of the study, which has spent nothing.
        starts: the start trials.

    Raises:
        ConfigError: with what the cheapest trial needs, and what the limit holds.
    """
    if not starts:
        return
    budget = admission.budget
    cheapest = min(starts, key=admission.worst_usd)
    worst, left = admission.worst_usd(cheapest), budget.left_usd("search")
    kept = (
        f" ({budget.confirmation_fraction:.0%} of it is kept for fresh seeds)" if budget.confirmation_fraction else ""
    )
    if left is not None and worst > left:
        needed = worst / max(1e-9, 1.0 - budget.confirmation_fraction)
        raise ConfigError(
            f"search.budget_usd is ${budget.budget_usd:.3g}{kept}, and the cheapest trial ({cheapest.model_size}) may "
            f"cost ${worst:.3g} at worst, retries counted: no trial could start",
            fix=f"--set search.budget_usd={needed:.2g} or more; `lft plan` shows the worst case of every model size",
        )
    if budget.minutes is None:
        return
    fastest = min(starts, key=lambda config: admission.expected(config).wall_s)
    wall_s = FASTEST_START_S + admission.expected(fastest).wall_s
    have_s = budget.minutes * 60.0 * (1.0 - budget.confirmation_fraction)
    if have_s < wall_s:
        needed = wall_s / 60.0 / max(1e-9, 1.0 - budget.confirmation_fraction)
        raise ConfigError(
            f"search.minutes is {budget.minutes:g}{kept}, so trials have {have_s:.3g} s, and the fastest "
            f"({fastest.model_size}) needs about {wall_s:.0f} s with the start of its process: no trial could finish",
            fix=f"--set search.minutes={needed:.2g} or more",
        )
