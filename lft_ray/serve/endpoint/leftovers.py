"""Removes what an endpoint leaves: its processes, its private folder, its copies of bundles.

In: the record of an endpoint whose supervisor is dead, or the folder of one that ends. Out: nothing of it remains.
Never touches a folder without our start request in it: ``endpoint.json`` may name any.
"""

import shutil
from pathlib import Path

from lft_ray.errors import InputError
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import messages, process_tree
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.bundle_copies import remove_store

__all__ = ["clean_up_dead", "end_and_remove", "remove_folder"]


def clean_up_dead(live: Endpoint, storage: Storage) -> Endpoint:
    """Remove what an endpoint on this machine has left whose supervisor was killed, and record it as stopped.

    Args:
        live: the endpoint as recorded; its process is dead.
        storage: the run folder.
    """
    if live.folder:
        end_and_remove(Path(live.folder))
    return endpoints.write(storage, live.replace(state="stopped", message="its process was gone"))


def end_and_remove(folder: Path) -> None:
    """End what is left of the processes of a dead supervisor, and delete its private folder.

    Args:
        folder: the private folder; one without our start request in it is not ours to delete.
    """
    is_ours = (folder / "start_request.json").is_file()
    try:
        tree = messages.get(folder, messages.ProcessTree)
    except InputError:
        tree = None  # of another version: the processes are found by the folder in their command lines
    process_tree.end_leftovers(tree.processes if tree is not None else [], str(folder) if is_ours else "")
    if is_ours:
        remove_folder(folder)
    elif not folder.exists():
        remove_store(folder)


def remove_folder(folder: Path, *, keep: str = "") -> None:
    """Delete the private folder of an endpoint and its copies of bundles.

    Args:
        folder: the private folder.
        keep: path of a file to keep, such as the log of a run whose storage is a bucket.
    """
    remove_store(folder)
    if keep and Path(keep).parent == folder:
        for path in folder.iterdir():
            if str(path) != keep:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
