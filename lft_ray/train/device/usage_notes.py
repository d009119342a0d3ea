"""Files that exist only while a trial runs: usage records of its sessions, and the folder of its training state.

In: the trial's folder, a `Usage`. Out: the usage its sessions recorded. Each session (one process's run) records its
usage so far in ``state/usage-<session>/usage.json``, so that the usage of a crashed or stopped attempt is measured, not
estimated. Light to import, since the driver reads these files too. Never measures anything.
"""

from lft_ray.records import Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.meter import add_usage

__all__ = ["PLACEMENT_GROUP_FILE", "PREFIX", "STATE", "WORKER_GROUPS", "clear", "noted_usage", "put_usage"]

STATE = "state"
"""Folder of the training state and the usage records, inside the trial's folder."""
PREFIX = "usage-"
WORKER_GROUPS = ".worker-groups"
"""Folder in the run folder with one subfolder per worker group: Ray Train's files, and the placement group's id."""
PLACEMENT_GROUP_FILE = "placement-group"
"""File in a worker group's folder with the id of its placement group, in hex; empty until the workers are up."""


def put_usage(state: Storage, session: str, usage: Usage) -> None:
    """Record the usage of a session so far."""
    state.put(f"{PREFIX}{session}/usage.json", usage.model_dump_json())


def noted_usage(state: Storage, *, except_session: str = "") -> Usage | None:
    """Sum of the usage recorded by all sessions, or by all except one; None if there are no records."""
    total = None
    for name in state.folders():
        if name.startswith(PREFIX) and name != f"{PREFIX}{except_session}":
            usage = Usage.model_validate_json(state.get(f"{name}/usage.json"))
            total = usage if total is None else add_usage(total, usage)
    return total


def clear(trial: Storage) -> None:
    """Remove the files of a running trial; its training state is three times the size of its model."""
    trial.delete_folder(STATE)
