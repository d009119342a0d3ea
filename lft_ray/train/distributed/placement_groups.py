"""Release the placement groups of worker groups. In: the run folder, where workers recorded their placement groups.

Out: a cluster without placement groups of ended studies. Ray removes a placement group once both its creator and its
driver are gone. Between the death of a Ray Train controller and the end of the driver, only a detached actor would
remove it, through the dashboard's State API, which may be slow or disabled; until then its cores are lost to the next
study of the same driver. Never touches the placement groups of other drivers.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import PLACEMENT_GROUP_FILE, WORKER_GROUPS

__all__ = [
    "free_orphans",
    "mailbox_name",
    "placement_groups",
    "record_placement_group",
    "wait_until",
    "worker_groups_of",
]

_REMOVED = "REMOVED"
POLL_S = 0.1
SHUTDOWN_S = 5.0
"""How long the end of a study waits for workers to exit by themselves; they check for cancellation at every step."""


@contextmanager
def worker_groups_of(run: Storage, workers: int) -> Iterator[None]:
    """Context of a study that, on exit, shuts down all its worker groups and releases their placement groups.

    This includes groups owned by other processes of this driver.

    Args:
        run: run folder of the study.
        workers: number of workers per group.
    """
    import ray

    before = placement_groups(workers)
    try:
        yield
    finally:
        worker_groups = run.folders(WORKER_GROUPS)
        for worker_group in worker_groups:
            with suppress(ValueError):  # the owner has exited, and the mailbox with it
                _mailbox_of(worker_group).close.remote()

        def is_released() -> bool:
            return placement_groups(workers) <= before or not any(map(_is_owned, worker_groups))

        wait_until(is_released, SHUTDOWN_S)
        if not is_released():
            # Some workers are still starting, or hang. A live controller would treat the loss of its placement group as
            # a failure and request another one, so kill the owner: the controller exits with it.
            for worker_group in worker_groups:
                _end_owner(worker_group)
            wait_until(is_released, SHUTDOWN_S)
        for worker_group in worker_groups:
            # The mailbox holds a handle to its owner, which would keep the owner alive.
            with suppress(ValueError):
                ray.kill(_mailbox_of(worker_group))
            _free_recorded(run, worker_group)
        # Groups that were still starting, and controllers that were just retrying, have recorded nothing.
        _free(placement_groups(workers) - before)
        run.delete_folder(WORKER_GROUPS)


def free_orphans(run: Storage) -> None:
    """Remove the placement groups of worker groups whose owner has died."""
    for worker_group in run.folders(WORKER_GROUPS):
        if not _is_owned(worker_group):
            _free_recorded(run, worker_group)


def record_placement_group(folder: Storage) -> None:
    """Write the id of the placement group that this worker runs in to the worker group's folder."""
    import ray

    current = ray.util.get_current_placement_group()
    folder.put(PLACEMENT_GROUP_FILE, current.id.hex() if current else "")


def placement_groups(bundles: int) -> frozenset[str]:
    """Ids, in hex, of the placement groups with ``bundles`` bundles created by this driver's Ray job."""
    import ray

    # A placement group's id ends with the four bytes of the id of the Ray job that created it.
    job = ray.get_runtime_context().get_job_id()
    table = ray.util.placement_group_table()
    return frozenset(
        name
        for name, group in table.items()
        if name.endswith(job) and group["state"] != _REMOVED and len(group["bundles"]) == bundles
    )


def mailbox_name(worker_group: str) -> str:
    """Actor name of a worker group's mailbox, by which all processes of the study find it."""
    return f"lft-worker-group-{worker_group}"


def wait_until(condition: Callable[[], bool], limit_s: float) -> None:
    """Return as soon as ``condition()`` holds, or after ``limit_s`` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _is_owned(worker_group: str) -> bool:
    """Whether the owner of a worker group is alive; its mailbox exits with it."""
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
    """Handle of a worker group's mailbox.

    Raises:
        ValueError: the mailbox no longer exists.
    """
    import ray

    return ray.get_actor(mailbox_name(worker_group))


def _free_recorded(run: Storage, worker_group: str) -> None:
    """Remove the placement group that a worker group recorded, and delete the worker group's folder."""
    with suppress(FileNotFoundError):
        recorded = run.get(f"{WORKER_GROUPS}/{worker_group}/{PLACEMENT_GROUP_FILE}").decode()
        if recorded:
            _free([recorded])
    run.delete_folder(f"{WORKER_GROUPS}/{worker_group}")


def _free(groups: Iterable[str]) -> None:
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
