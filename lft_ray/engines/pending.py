"""The queue of a `Batcher`: encoded texts, ordered by turn and by length.

In: requests with their encoded texts. Out: batches of similar length. Never runs a model, never locks.

Turns are those of fair queueing: the n-th token of a request stands behind the first n tokens of every other request
that waits. One request of 128 long texts therefore does not hold up the single texts that arrive after it.
"""

import asyncio
import heapq
import time
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded
from lft_ray.models.tokens import Truncated, Unread
from lft_ray.texts import Text

__all__ = ["Item", "PendingQueue", "Request"]


@dataclass(slots=True, eq=False)
class Request:
    """Texts of one ``submit`` call, which are resolved together."""

    texts: list[Text]
    loop: asyncio.AbstractEventLoop
    """Event loop of the caller, on which the future is resolved."""
    future: "asyncio.Future[NDArray[np.float32]]"
    rows: list[NDArray[np.float32] | None]
    """Logits of each text, once computed."""
    missing: int
    """Number of texts without logits."""
    finished: bool = False
    """Completed, failed or cancelled: none of its texts may run any more."""
    tokens: list[int] = field(default_factory=list)
    """Length of each text, as far as encoded."""
    cut: list[bool] = field(default_factory=list)
    """Whether each text was truncated, as far as encoded."""
    unread: list[bool] = field(default_factory=list)
    """Whether each text has no token of its own, as far as encoded."""
    turn: float = 0.0
    """Turn of its next text."""
    submitted_at: float = field(default_factory=time.perf_counter)

    @property
    def unencoded(self) -> int:
        """Number of texts that have not been encoded yet."""
        return len(self.texts) - len(self.tokens)

    def next_texts(self, most: int) -> list[Text]:
        """The next texts to encode, at most ``most``."""
        start = len(self.tokens)
        return self.texts[start : start + most]

    def note(self, encoded: Sequence[Encoded]) -> None:
        """Record what the tokenizer found in the next texts."""
        self.tokens += map(len, encoded)
        self.cut += (isinstance(text, Truncated) for text in encoded)
        self.unread += (isinstance(text, Unread) for text in encoded)


@dataclass(slots=True, order=True)
class Item:
    """One queued, encoded text. Ordered by length, then by arrival."""

    length: int
    number: int
    encoded: Encoded = field(compare=False)
    request: Request = field(compare=False)
    row: int = field(compare=False)
    taken: bool = field(default=False, compare=False)


class PendingQueue:
    """Queue of encoded texts.

    Args:
        max_batch_tokens: maximum padded tokens per batch (longest text x number of texts); a longer text forms a batch
            of its own.
        max_batch: maximum texts per batch.
    """

    def __init__(self, max_batch_tokens: int, max_batch: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._max_batch = max_batch
        self._by_length: list[Item] = []
        self._by_turn: list[tuple[float, int, Item]] = []
        self._arrived = 0
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, request: Request, encoded: Sequence[Encoded]) -> None:
        """Queue the next texts of a request."""
        request.turn = max(request.turn, self._turn)
        row = len(request.tokens)
        request.note(encoded)
        for text in encoded:
            item = Item(len(text), self._arrived, text, request, row)
            heapq.heappush(self._by_turn, (request.turn, self._arrived, item))
            insort(self._by_length, item)
            request.turn += max(1, len(text))
            self._arrived += 1
            row += 1

    def requests(self) -> list[Request]:
        """Requests with at least one queued text."""
        return list({id(item.request): item.request for item in self._by_length}.values())

    def drop(self, request: Request) -> int:
        """Remove the queued texts of a request; return their number."""
        before = len(self._by_length)
        for item in self._by_length:
            item.taken |= item.request is request
        self._by_length = [item for item in self._by_length if not item.taken]
        return before - len(self._by_length)

    def take(self) -> list[Item]:
        """Remove and return a batch: the text whose turn it is, and as many of similar length as the budget allows."""
        # Items leave the heap lazily: removing them from its middle would be linear.
        while self._by_turn[0][2].taken:
            heapq.heappop(self._by_turn)
        self._turn, _, first = heapq.heappop(self._by_turn)
        low, high = self._window(bisect_left(self._by_length, first))
        batch = self._by_length[low:high]
        del self._by_length[low:high]
        for item in batch:
            item.taken = True
        return batch

    def _window(self, start: int) -> tuple[int, int]:
        """Grow a slice of the length order around ``start``, on the side closer in length, up to the budget."""
        items = self._by_length
        low, high = start, start + 1
        while high - low < self._max_batch:
            size = high - low + 1
            # Growing downwards leaves the longest text, growing upwards makes the new one the longest.
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
