"""Texts that wait for an engine, in order of arrival and in order of length. Not locked: its owner does that.

In: requests with their encoded texts. Out: batches, each the text that has waited longest and its nearest in length.
"""

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded

__all__ = ["Item", "Request", "Waiting"]


@dataclass(slots=True, eq=False)
class Request:
    """One ``submit``: its texts share one answer."""

    texts: list[str]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[NDArray[np.float32]]"
    rows: list[NDArray[np.float32] | None]
    missing: int
    dropped: bool = False
    """Cancelled, failed or answered: nothing of it is to run any more."""
    tokens: list[int] = field(default_factory=list)
    """Length of each text, once it is encoded."""
    cut: list[bool] = field(default_factory=list)
    """Whether the end of each text was cut off, once it is encoded."""


@dataclass(slots=True, order=True)
class Item:
    """One encoded text that waits. Ordered by length, then by arrival."""

    length: int
    number: int
    encoded: Encoded = field(compare=False)
    request: Request = field(compare=False)
    row: int = field(compare=False)
    taken: bool = field(default=False, compare=False)


class Waiting:
    """Encoded texts that wait.

    Args:
        max_batch_tokens: longest text of a batch x texts of the batch; a longer single text still comes, alone.
        max_batch: most texts of a batch.
    """

    def __init__(self, max_batch_tokens: int, max_batch: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._max_batch = max_batch
        self._by_length: list[Item] = []
        self._by_arrival: deque[Item] = deque()
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, request: Request, encoded: Sequence[Encoded]) -> None:
        """Let all texts of a request wait."""
        for row, one in enumerate(encoded):
            item = Item(len(one), self._arrived, one, request, row)
            self._arrived += 1
            self._by_arrival.append(item)
            insort(self._by_length, item)

    def requests(self) -> list[Request]:
        """Requests with at least one text here."""
        return list({id(item.request): item.request for item in self._by_length}.values())

    def drop(self, request: Request) -> int:
        """Forget what waits of a request. Returns how many texts that were."""
        before = len(self._by_length)
        for item in self._by_length:
            item.taken |= item.request is request
        self._by_length = [item for item in self._by_length if not item.taken]
        return before - len(self._by_length)

    def take(self) -> list[Item]:
        """Remove and return the oldest text and its nearest in length, as many as the budget holds: at least one."""
        while self._by_arrival[0].taken:
            self._by_arrival.popleft()
        low, high = self._window(bisect_left(self._by_length, self._by_arrival[0]))
        batch = self._by_length[low:high]
        del self._by_length[low:high]
        for item in batch:
            item.taken = True
        return batch

    def _window(self, start: int) -> tuple[int, int]:
        items = self._by_length
        low, high = start, start + 1
        while high - low < self._max_batch:
            size = high - low + 1
            fits_below = low > 0 and size * items[high - 1].length <= self._max_batch_tokens
            fits_above = high < len(items) and size * items[high].length <= self._max_batch_tokens
            if not fits_below and not fits_above:
                break
            gap_below = items[start].length - items[low - 1].length if fits_below else None
            gap_above = items[high].length - items[start].length if fits_above else None
            if gap_above is None or (gap_below is not None and gap_below <= gap_above):
                low -= 1
            else:
                high += 1
        return low, high
