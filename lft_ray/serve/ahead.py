"""Folders to be profiled that are made while Serve starts, which mostly waits. In: requests. Out: their folders.

Making them takes 10 s for five sizes of MiniLM (the first imports torch), and would otherwise stand between the
measurements; beside a measurement it would disturb it. Only for a replica that is sure to be on this machine.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lft_ray.node_types import run_on
from lft_ray.serve.probe import MadeFolder, ProfileRequest, make_folder_of

__all__ = ["MadeAhead", "making_ahead"]

LIMIT_BYTES = 1_000_000_000
"""Of folders that may lie in the temporary folder at a time: a ladder of large models is more than a disk may hold."""
_END_S = 5.0


class MadeAhead:
    """Folders that are being made.

    Args:
        task: Ray's reference of them.
        requests: that they are made for, in order.
    """

    def __init__(self, task: Any, requests: Sequence[ProfileRequest]) -> None:
        self._task, self._requests = task, requests
        self._made: dict[str, MadeFolder] = {}

    def wait(self) -> None:
        """Return when all are made. Raises what making one of them raised."""
        import ray

        made = ray.get(self._task) if self._requests else []
        self._made = {request.name: one for request, one in zip(self._requests, made, strict=True)}

    def take(self, request: ProfileRequest) -> MadeFolder | None:
        """The folder of a request, the caller's to remove; None: it was not made ahead."""
        return self._made.pop(request.name, None)


@contextmanager
def making_ahead(requests: Sequence[ProfileRequest], node: str) -> Iterator[MadeAhead]:
    """Begin to make the folders of as many of the first requests as a disk may hold; at the end none is left.

    Args:
        requests: in the order in which they will be asked for.
        node: id of the Ray node on this machine.
    """
    import ray

    chosen = _first(requests, LIMIT_BYTES)
    with tempfile.TemporaryDirectory(prefix="lft-profile-", ignore_cleanup_errors=True) as folder:
        task = run_on(node, _make, chosen, folder)
        try:
            yield MadeAhead(task, chosen)
        finally:
            ray.cancel(task, force=True)
            # What it still writes would be left behind.
            ray.wait([task], timeout=_END_S)


def _first(requests: Sequence[ProfileRequest], limit_bytes: int) -> list[ProfileRequest]:
    chosen, size = [], 0
    for request in requests:
        size += 4 * request.size.params
        if size > limit_bytes:
            break
        chosen.append(request)
    return chosen


def _make(requests: Sequence[ProfileRequest], folder: str) -> list[MadeFolder]:
    return [make_folder_of(request, Path(folder)) for request in requests]
