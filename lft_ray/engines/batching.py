"""Dynamic batching for an engine: by padded-token budget and similar length, without a wait timer.

In: texts, from coroutines of any event loop. Out: their logits. `Batcher` serves concurrent requests with a
`PendingQueue`; `run_sorted` and `run_encoded` run one long list. Never knows HTTP, Ray or labels.

A worker thread that becomes free takes the text that has waited longest and fills the batch with the texts closest to
it in length. Without load, a text therefore runs immediately and alone; under load, batches form by themselves.
"""

import asyncio
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded, Runner
from lft_ray.errors import LftError
from lft_ray.models.tokens import Truncated

__all__ = [
    "BATCH_TOKENS",
    "Batcher",
    "Item",
    "Overloaded",
    "PendingQueue",
    "Request",
    "run_encoded",
    "run_sorted",
    "sorted_batches",
]  # fmt: skip


@dataclass(slots=True, eq=False)
class Request:
    """Texts of one ``submit`` call, which are resolved together."""

    texts: list[str]
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
    """Length of each text, once encoded."""
    cut: list[bool] = field(default_factory=list)
    """Whether each text was truncated, once encoded."""


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
    """Queue of encoded texts, ordered by arrival and by length.

    Args:
        max_batch_tokens: maximum padded tokens per batch (longest text x number of texts); a longer text forms a batch
            of its own.
        max_batch: maximum texts per batch.
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
        """Queue all texts of a request."""
        for row, text in enumerate(encoded):
            item = Item(len(text), self._arrived, text, request, row)
            self._arrived += 1
            self._by_arrival.append(item)
            insort(self._by_length, item)

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
        """Remove and return a batch: the oldest text and as many of similar length as the budget allows."""
        # Items leave the arrival queue lazily: removing them from its middle would be linear.
        while self._by_arrival[0].taken:
            self._by_arrival.popleft()
        low, high = self._window(bisect_left(self._by_length, self._by_arrival[0]))
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


Logits = NDArray[np.float32]
BATCH_TOKENS = 384
"""Padded tokens per batch. Larger batches exceed the cache of a core: with 32 queued texts of AG News, MiniLM in int8
takes 8.8 ms of CPU time per text at 2048, 6.5 at 384 and 6.1 at 256; fp32 18.9, 14.6 and 14.1; torch in bf16 11.5, 9.4
and 9.9."""


class Overloaded(LftError):
    """The queue is full or the batcher is closed; the caller may retry shortly."""


class Batcher:
    """Runs texts of many concurrent callers on one engine.

    Args:
        runner: opened engine.
        workers: number of threads that run batches.
        max_batch_tokens: maximum padded tokens per batch (longest text x number of texts); a longer text runs alone.
        max_batch: maximum texts per batch.
        max_queued_texts: capacity of the queue in texts; beyond it `Overloaded` is raised.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        workers: int = 1,
        max_batch_tokens: int = BATCH_TOKENS,
        max_batch: int = 64,
        max_queued_texts: int = 4096,
    ) -> None:
        self._runner = runner
        self._max_queued_texts = max_queued_texts
        self._waiting = PendingQueue(max_batch_tokens, max_batch)
        self._incoming: deque[Request] = deque()
        self._queued = 0
        self._closed = False
        self._wake = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"lft-batch-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Number of queued texts that are not running yet."""
        return self._queued

    async def submit(self, texts: Sequence[str]) -> Logits:
        """Compute logits [n, outputs] of the texts, in their order.

        Cancelling the awaiting task removes the texts that are not running yet.

        Raises:
            Overloaded: the queue is full, or the batcher is closed.
            Exception: the error that the runner raised for these texts, or for a batch with one of them.
        """
        return (await self.submit_request(texts))[0]

    async def submit_request(self, texts: Sequence[str]) -> tuple[Logits, Request]:
        """Like `submit`, but also return the request, with the length of each text and whether it was truncated."""
        if not texts:
            raise ValueError("submit needs at least one text")
        loop = asyncio.get_running_loop()
        request = Request(list(texts), loop, loop.create_future(), [None] * len(texts), len(texts))
        with self._wake:
            if self._closed:
                raise Overloaded("the model is shutting down")
            if self._queued + len(texts) > self._max_queued_texts:
                raise Overloaded(
                    f"the queue is full: {self._queued} of at most {self._max_queued_texts} texts are waiting, "
                    f"and {len(texts)} more arrived"
                )
            self._queued += len(texts)
            self._incoming.append(request)
            self._wake.notify()
        try:
            return await request.future, request
        except asyncio.CancelledError:
            self._cancel(request)
            raise

    def close(self, timeout_s: float = 30.0) -> None:
        """Reject new texts, finish the queued ones and stop the threads. Blocks; do not call it on an event loop.

        Args:
            timeout_s: seconds to wait for each thread; texts still queued after that fail with `Overloaded`.
        """
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
        with self._wake:
            unfinished = [*self._incoming, *self._waiting.requests()]
        self._fail(unfinished, Overloaded("the model was shut down before this text was processed"))

    def _cancel(self, request: Request) -> None:
        with self._wake:
            if request.finished:
                return
            request.finished = True
            if request in self._incoming:
                self._incoming.remove(request)
                self._queued -= len(request.texts)
                return
            self._queued -= self._waiting.drop(request)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._incoming and not len(self._waiting):
                    if self._closed:
                        return
                    self._wake.wait()
                arrived = list(self._incoming)
                self._incoming.clear()
            # Outside the lock: tokenising and running batches take milliseconds, and submit must not wait for them.
            self._encode(arrived)
            with self._wake:
                if not len(self._waiting):
                    continue
                batch = self._waiting.take()
                self._queued -= len(batch)
                if len(self._waiting):
                    self._wake.notify()
            self._run(batch)

    def _encode(self, arrived: list[Request]) -> None:
        for request in arrived:
            try:
                encoded = self._runner.encode(request.texts)
            except BaseException as error:  # reported to this caller; must not end the thread  # noqa: BLE001
                with self._wake:
                    self._queued -= len(request.texts)
                self._fail([request], error)
                continue
            with self._wake:
                if request.finished:
                    self._queued -= len(request.texts)
                else:
                    request.tokens = [len(text) for text in encoded]
                    request.cut = [isinstance(text, Truncated) for text in encoded]
                    self._waiting.add(request, encoded)
                    # Another worker may run these texts while this one encodes the next request.
                    self._wake.notify()

    def _run(self, batch: list[Item]) -> None:
        try:
            logits = self._runner.run([item.encoded for item in batch])
            if len(logits) != len(batch):
                raise RuntimeError(f"the engine returned {len(logits)} rows for {len(batch)} texts")
        except BaseException as error:  # reported to the callers of this batch  # noqa: BLE001
            self._fail(list({id(item.request): item.request for item in batch}.values()), error)
            return
        with self._wake:
            done = []
            for item, row in zip(batch, logits, strict=True):
                request = item.request
                request.rows[item.row] = row
                request.missing -= 1
                if request.missing == 0 and not request.finished:
                    request.finished = True
                    done.append(request)
        _resolve(done, None)

    def _fail(self, requests: list[Request], error: BaseException) -> None:
        with self._wake:
            failed = [request for request in requests if not request.finished]
            for request in failed:
                request.finished = True
                self._queued -= self._waiting.drop(request)
        _resolve(failed, error)


def _resolve(requests: list[Request], error: BaseException | None) -> None:
    """Resolve requests on the event loops of their callers, with one wake-up per loop rather than per request."""
    loops: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in requests:
        loops.setdefault(request.loop, []).append(request)
    for loop, of_loop in loops.items():
        # RuntimeError: the loop is closed, so its caller is gone.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, of_loop, error)


def _settle(requests: list[Request], error: BaseException | None) -> None:
    for request in requests:
        if request.future.done():
            continue
        if error is not None:
            # A future rejects StopIteration, and its caller would wait forever.
            raised = error if not isinstance(error, StopIteration) else RuntimeError(repr(error))
            request.future.set_exception(raised)
        else:
            request.future.set_result(np.stack([row for row in request.rows if row is not None]))


def run_sorted(
    runner: Runner, texts: Sequence[str], *, max_batch_tokens: int = BATCH_TOKENS, max_batch: int = 64
) -> Logits:
    """Compute logits [n, outputs] of a list of texts, in its order, in batches of similar length.

    Args:
        runner: opened engine.
        texts: at least one text.
        max_batch_tokens: maximum padded tokens per batch (longest text x number of texts).
        max_batch: maximum texts per batch.
    """
    return run_encoded(runner, runner.encode(texts), max_batch_tokens=max_batch_tokens, max_batch=max_batch)


def run_encoded(
    runner: Runner, encoded: Sequence[Encoded], *, max_batch_tokens: int = BATCH_TOKENS, max_batch: int = 64
) -> Logits:
    """Like `run_sorted`, for texts that are already encoded."""
    logits: dict[int, NDArray[np.float32]] = {}
    for rows in sorted_batches([len(text) for text in encoded], max_batch_tokens, max_batch):
        logits |= zip(rows, runner.run([encoded[row] for row in rows]), strict=True)
    return np.stack([logits[row] for row in range(len(encoded))])


def sorted_batches(lengths: Sequence[int], max_batch_tokens: int, max_batch: int) -> Iterator[list[int]]:
    """Yield the text indices of each batch, shortest texts first; a text above the budget is a batch of its own."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == max_batch or (len(batch) + 1) * lengths[row] > max_batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
