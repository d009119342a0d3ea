"""What gangs hold of a cluster, and how it is given back. In: a run folder with what their workers noted.

Ray frees a placement group once its creator and its driver are both gone. Between a killed controller of Ray Train and
the end of the driver only a detached actor would do it, by the dashboard's State API, which may be slow or off: cores
that nobody frees are lost to the next study of the same driver.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import HELD, WORKER_GROUPS

__all__ = ["mailbox_name", "note_held", "placement_groups", "sweep", "wait_until", "worker_groups_of"]

_GONE = "REMOVED"
LOOK_S = 0.1
SHUTDOWN_S = 5.0
"""How long the end of a study waits for workers to go home by themselves: they look at every step."""


@contextmanager
def worker_groups_of(run: Storage, workers: int) -> Iterator[None]:
    """Around a study: at its end no gang is up, whichever process of this driver's owned it, and nothing is held.

    Args:
        run: of the study.
        workers: of each gang.
    """
    import ray

    before = placement_groups(workers)
    try:
        yield
    finally:
        worker_groups = run.folders(WORKER_GROUPS)
        for worker_group in worker_groups:
            with suppress(ValueError):  # its owner has gone, and its mailbox with it
                _mailbox_of(worker_group).close.remote()

        def have_left() -> bool:
            return placement_groups(workers) <= before or not any(map(_is_owned, worker_groups))

        wait_until(have_left, SHUTDOWN_S)
        if not have_left():
            # Its workers are still starting, or hang. A controller that lives takes the loss of its placement group for
            # a failure and asks for another one; it goes with its owner.
            for worker_group in worker_groups:
                _end_owner(worker_group)
            wait_until(have_left, SHUTDOWN_S)
        for worker_group in worker_groups:
            # It holds a handle of its owner, which would keep it alive.
            with suppress(ValueError):
                ray.kill(_mailbox_of(worker_group))
            _free_noted(run, worker_group)
        # Nobody noted what a gang held that was still starting, nor what a controller asked for in its last moment.
        _free(placement_groups(workers) - before)
        run.delete_folder(WORKER_GROUPS)


def sweep(run: Storage) -> None:
    """Free what gangs hold whose owner died."""
    for worker_group in run.folders(WORKER_GROUPS):
        if not _is_owned(worker_group):
            _free_noted(run, worker_group)


def note_held(folder: Storage) -> None:
    """Write down the placement group that this worker runs in."""
    import ray

    held = ray.util.get_current_placement_group()
    folder.put(HELD, held.id.hex() if held else "")


def placement_groups(bundles: int) -> frozenset[str]:
    """Ids in hex of the placement groups of this driver, its trials and what they started, with so many bundles."""
    import ray

    # The last four bytes of an id are those of the job that it was made in.
    job = ray.get_runtime_context().get_job_id()
    table = ray.util.placement_group_table()
    return frozenset(
        name
        for name, group in table.items()
        if name.endswith(job) and group["state"] != _GONE and len(group["bundles"]) == bundles
    )


def mailbox_name(worker_group: str) -> str:
    """Name of the actor of a gang that all its processes know."""
    return f"lft-gang-{worker_group}"


def wait_until(is_so: Callable[[], bool], limit_s: float) -> None:
    """Return once it is so, or after the limit."""
    deadline = time.monotonic() + limit_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _is_owned(worker_group: str) -> bool:
    """Whether the process that asked for it lives: its mailbox dies with it."""
    try:
        _mailbox_of(worker_group)
    except ValueError:
        return False
    return True


def _end_owner(worker_group: str) -> None:
    import ray

    with suppress(ValueError, ray.exceptions.RayActorError):
        owner = ray.get(_mailbox_of(worker_group).owner.remote())
        if owner is not None:
            ray.kill(owner)


def _mailbox_of(worker_group: str) -> Any:
    """Its handle.

    Raises:
        ValueError: there is none any more.
    """
    import ray

    return ray.get_actor(mailbox_name(worker_group))


def _free_noted(run: Storage, worker_group: str) -> None:
    """Free what a gang's workers noted, and forget the gang."""
    with suppress(FileNotFoundError):
        held = run.get(f"{WORKER_GROUPS}/{worker_group}/{HELD}").decode()
        if held:
            _free([held])
    run.delete_folder(f"{WORKER_GROUPS}/{worker_group}")


def _free(groups: Iterable[str]) -> None:
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
