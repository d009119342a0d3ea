"""Whether a run is finished, so that resuming it has nothing to do. In: a run folder. Out: yes or no."""

import hashlib

from lft_ray.run.files import read_notes
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger

__all__ = ["is_finished", "mark_finished"]

_FILE = "finished.json"


def mark_finished(run: RunFolder, experiment_yaml: str, ledger: Ledger) -> None:
    """Record that the search with this experiment has ended, with a selection from these trials."""
    run.put_json(_FILE, _state(run, experiment_yaml, ledger))


def is_finished(run: RunFolder, experiment_yaml: str, ledger: Ledger) -> bool:
    """Whether a search with this experiment has ended, and nothing has changed since.

    Any change of budgets, policy or prices, another trial and another selection make it unfinished.
    """
    marked = read_notes(run.storage, _FILE, dict[str, str])
    return bool(marked) and not ledger.unfinished() and marked == _state(run, experiment_yaml, ledger)


def _state(run: RunFolder, experiment_yaml: str, ledger: Ledger) -> dict[str, str]:
    selection = run.selection()
    return {
        "experiment_sha256": hashlib.sha256(experiment_yaml.encode()).hexdigest(),
        "trials": ", ".join(f"{record.trial_id} {record.finished_at}" for record in ledger.records()),
        "selected_at": selection.decided_at if selection is not None else "",
    }
