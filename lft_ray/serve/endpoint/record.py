"""Where an endpoint is written down, and whether the process it names still lives. Starts and stops nothing.

In: a run folder. Out: the `Endpoint` record in its ``endpoint.json``.
"""

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from lft_ray.errors import InputError, first_problem
from lft_ray.processes import alive
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage

__all__ = ["ENDPOINT_FILE", "is_alive", "make_folder", "read", "write"]

ENDPOINT_FILE = "endpoint.json"
_LONGEST_PARENT = 24


def read(storage: Storage) -> Endpoint | None:
    """The endpoint of a folder, live or stopped; None when there never was one.

    Raises:
        InputError: the file is damaged or of another version.
    """
    try:
        return Endpoint.model_validate_json(storage.get(ENDPOINT_FILE))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(
            f"{storage.uri_of(ENDPOINT_FILE)} cannot be read: {first_problem(error)}",
            fix="stop the process it names and delete the file",
        ) from None


def write(storage: Storage, endpoint: Endpoint) -> Endpoint:
    """Write ``endpoint.json``, atomically where the storage is local."""
    storage.put(ENDPOINT_FILE, endpoint.model_dump_json(indent=1))
    return endpoint


def is_alive(endpoint: Endpoint) -> bool:
    """Whether the very process that wrote the record lives on this machine."""
    return endpoint.process is not None and alive(endpoint.process)


def make_folder() -> Path:
    """A new private folder with a short path: Ray's and HAProxy's unix sockets in it have at most 107 bytes."""
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_PARENT and os.name == "posix":
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix="lft-", dir=parent))
