"""The run folder of a live endpoint, found again after it was moved.

In: the URI of the run folder. Out: ``endpoint.json`` there. Never makes the folder anew: a folder that was moved away
or deleted is not ours to bring back.
"""

import os
from contextlib import suppress
from pathlib import Path

from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record as endpoints

__all__ = ["Site"]


class Site:
    """Where an endpoint is recorded.

    Args:
        uri: URI of the run folder, which exists if it is local.
    """

    def __init__(self, uri: str) -> None:
        self._storage = Storage(uri)
        self._descriptor = -1
        if self._storage.is_local:
            with suppress(OSError):
                self._descriptor = os.open(self._storage.uri, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def find(self) -> Storage | None:
        """The run folder where it is now; None if it is gone."""
        if not self._storage.is_local:
            return self._storage
        if self._descriptor < 0:
            return self._storage if Path(self._storage.uri).is_dir() else None
        own = os.fstat(self._descriptor)
        places = [self._storage.uri]
        with suppress(OSError):
            # Linux names the present path of an open folder; elsewhere a moved one is not found again.
            places.append(str(Path(f"/proc/self/fd/{self._descriptor}").readlink()))
        for place in places:
            with suppress(OSError):
                found = Path(place).stat()
                if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                    return self._storage if place == self._storage.uri else Storage(place)
        return None

    def keep(self, endpoint: Endpoint) -> bool:
        """Record the endpoint again if somebody has deleted its record. Returns whether it was missing."""
        storage = self.find()
        if storage is None or storage.exists(endpoints.ENDPOINT_FILE):
            return False
        self.write(endpoint)
        return True

    def write(self, endpoint: Endpoint) -> Endpoint:
        """Record the endpoint, unless its run folder is gone or cannot be written: serving goes on without a record."""
        storage = self.find()
        if storage is not None:
            with suppress(OSError):
                endpoints.write(storage, endpoint)
        return endpoint
