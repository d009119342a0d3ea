"""Files that exist only while a trial runs: usage records of its sessions, and the folder of its training state.

In: the trial's folder, a `Usage`. Out: the usage its sessions recorded. Each session (one process's run) records its
usage so far in ``state/usage-<session>/usage.json``, so that the usage of a crashed or stopped attempt is measured, not
estimated. Light to import, since the driver reads these files too. Never measures anything.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lft_ray.records import Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.meter import add_usage

__all__ = [
    "PLACEMENT_GROUP_FILE", "PREFIX", "STATE", "WORKER_GROUPS", "clear", "noted_usage", "noting", "put_usage",
    "replace_notes",
]  # fmt: skip

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
            usage = _read(state, name)
            if usage is None:
                continue
            total = usage if total is None else add_usage(total, usage)
    return total


def replace_notes(state: Storage, usage: Usage, *, session: str) -> None:
    """Record one usage in place of all that sessions recorded: what a trial that runs again has been charged for."""
    for name in state.folders():
        if name.startswith(PREFIX):
            state.delete_folder(name)
    put_usage(state, session, usage)


@contextmanager
def noting(state: Storage, session: str, measured: Callable[[], Usage], *, every_s: float = 5.0) -> Iterator[None]:
    """Record the usage from a thread while the context runs: for a fit that has no steps to record it between."""
    ended = threading.Event()

    def note() -> None:
        while not ended.wait(every_s):
            # A note that cannot be written is one the driver estimates; what the fit writes will say what is wrong.
            with suppress(OSError):
                put_usage(state, session, measured())

    thread = threading.Thread(target=note, name="usage-notes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=every_s)


def _read(state: Storage, name: str) -> Usage | None:
    """The note of one session; None: the note is missing or damaged, as a power cut leaves it."""
    try:
        return Usage.model_validate_json(state.get(f"{name}/usage.json"))
    except (FileNotFoundError, ValueError):
        return None


def clear(trial: Storage) -> None:
    """Remove the files of a running trial; its training state is three times the size of its model."""
    trial.delete_folder(STATE)
