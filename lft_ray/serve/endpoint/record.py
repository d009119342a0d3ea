"""The record of an endpoint, and whether its process is still alive. Starts and stops nothing.

In: a run folder. Out: the `Endpoint` record in its ``endpoint.json``.
"""

import tempfile
from pathlib import Path

from pydantic import ValidationError

from lft_ray.errors import InputError, first_problem
from lft_ray.processes import alive
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.system.scratch import short_parent
from lft_ray.system.text import quoted

__all__ = ["ENDPOINT_FILE", "is_alive", "make_folder", "read", "write"]

ENDPOINT_FILE = "endpoint.json"


def read(storage: Storage) -> Endpoint | None:
    """The endpoint of a run folder, live or stopped; None if there has never been one.

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
            fix=f"`lft down {quoted(storage.uri)}` stops what serves there and sets the file aside; if it cannot tell "
            "whether anything does, stop the process that the file names, and delete the file",
        ) from None


def write(storage: Storage, endpoint: Endpoint) -> Endpoint:
    """Write ``endpoint.json``, atomically where the storage is local."""
    storage.put(ENDPOINT_FILE, endpoint.model_dump_json(indent=1))
    return endpoint


def is_alive(endpoint: Endpoint) -> bool:
    """Whether the process that wrote the record is alive on this machine; a reused process id does not count."""
    return endpoint.process is not None and alive(endpoint.process)


def make_folder() -> Path:
    """Create a private folder with a short path, in which programs may start: it has sockets and a launcher.

    Raises:
        InputError: no temporary folder qualifies.
    """
    return Path(tempfile.mkdtemp(prefix="lft-", dir=short_parent(executable=True)))
