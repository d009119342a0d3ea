"""What a trial keeps in its folder only while it runs: usage notes and training state. Light: the driver reads it, too.

Each session (one process's run) notes what it has spent so far in ``state/usage-<session>/usage.json``, so that what a
crashed or stopped attempt spent is counted as measured.
"""

from lft_ray.records import Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.meter import add_usage

__all__ = ["HELD", "PREFIX", "STATE", "WORKER_GROUPS", "clear", "noted_usage", "put_usage"]

STATE = "state"
"""Folder of the training state and the notes, in the trial's own."""
PREFIX = "usage-"
WORKER_GROUPS = ".gangs"
"""Folder in the run folder with one for each gang: what Ray Train writes, and what the gang holds."""
HELD = "placement-group"
"""File in the folder of a gang: the id of its placement group, in hex; empty until its workers are up."""


def put_usage(state: Storage, session: str, usage: Usage) -> None:
    """Note what a session has spent so far."""
    state.put(f"{PREFIX}{session}/usage.json", usage.model_dump_json())


def noted_usage(state: Storage, *, but: str = "") -> Usage | None:
    """Sum of what all sessions but one noted; None if none has."""
    total = None
    for name in state.folders():
        if name.startswith(PREFIX) and name != f"{PREFIX}{but}":
            usage = Usage.model_validate_json(state.get(f"{name}/usage.json"))
            total = usage if total is None else add_usage(total, usage)
    return total


def clear(trial: Storage) -> None:
    """Remove what only a running trial needs: its state, three times its model's size."""
    trial.delete_folder(STATE)
