"""Whether a run is finished, so that resuming it has nothing to do. In: a run folder. Out: yes or no."""

import hashlib

from lft_ray.config import Experiment
from lft_ray.run.files import read_notes
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger

__all__ = ["is_finished", "mark_finished"]

_FILE = "finished.json"


def mark_finished(run: RunFolder, experiment: Experiment, ledger: Ledger) -> None:
    """Record that the search with this experiment has ended, with a selection from these trials."""
    run.put_json(_FILE, _state(run, _without_address(experiment), ledger))


def is_finished(run: RunFolder, experiment: Experiment, ledger: Ledger) -> bool:
    """Whether a search with this experiment has ended, and nothing has changed since.

    Any change of budgets, policy or prices, another trial and another selection make it unfinished; a move of its
    folder does not.
    """
    marked = read_notes(run.storage, _FILE, dict[str, str])
    if not marked or ledger.unfinished():
        return False
    # Versions before this one marked the experiment with its address.
    return any(marked == _state(run, each, ledger) for each in (_without_address(experiment), experiment))


def _without_address(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"name": "", "storage": ""})


def _state(run: RunFolder, experiment: Experiment, ledger: Ledger) -> dict[str, str]:
    selection = run.selection()
    return {
        "experiment_sha256": hashlib.sha256(experiment.to_yaml().encode()).hexdigest(),
        "trials": ", ".join(f"{record.trial_id} {record.finished_at}" for record in ledger.records()),
        "selected_at": selection.decided_at if selection is not None else "",
    }
