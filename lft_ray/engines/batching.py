"""Batches for an engine: by padded-token budget and nearest lengths, without a wait timer.

In: texts, from coroutines of any event loop. Out: their logits. `Batcher` serves concurrent requests, `run_sorted` one
long list. Never knows HTTP, Ray or labels.

A worker thread that becomes free takes the text that has waited longest and fills the batch with the texts nearest to
it in length. Under no load a text therefore runs at once, alone; under load batches form by themselves.
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
from lft_ray.models.tokens import Cut

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


class PendingQueue:
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


Logits = NDArray[np.float32]
BATCH_TOKENS = 384
"""Padded tokens of a batch. Larger ones leave the cache of a core: with 32 texts waiting, MiniLM's int8 costs 8.8 ms of
processor time a text of AG News at 2048, 6.5 at 384 and 6.1 at 256; fp32 18.9, 14.6 and 14.1; torch's bf16 11.5, 9.4
and 9.9."""


class Overloaded(LftError):
    """More texts wait than the queue holds; trying again shortly is fine."""


class Batcher:
    """Runs texts of many concurrent callers on one engine.

    Args:
        runner: the opened engine.
        workers: threads that run batches.
        max_batch_tokens: longest text of a batch x texts of the batch; a longer single text still runs, alone.
        max_batch: most texts of a batch.
        max_queued_texts: texts that may wait; one more raises `Overloaded`.
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
        """Texts that wait and do not run yet."""
        return self._queued

    async def submit(self, texts: Sequence[str]) -> Logits:
        """Logits [n, outputs] of the texts, in their order.

        Cancelling the awaiting task drops the texts that do not run yet.

        Raises:
            Overloaded: the queue is full, or the batcher is closed.
            Exception: whatever the runner raised for these texts, or for a batch that held one of them.
        """
        return (await self.ask(texts))[0]

    async def ask(self, texts: Sequence[str]) -> tuple[Logits, Request]:
        """As `submit`; also returns the request, which knows how long its texts were and which of them were cut."""
        if not texts:
            raise ValueError("submit needs at least one text")
        loop = asyncio.get_running_loop()
        request = Request(list(texts), loop, loop.create_future(), [None] * len(texts), len(texts))
        with self._wake:
            if self._closed:
                raise Overloaded("the model is shutting down")
            if self._queued + len(texts) > self._max_queued_texts:
                raise Overloaded(f"{self._queued} texts wait already; the queue holds {self._max_queued_texts}")
            self._queued += len(texts)
            self._incoming.append(request)
            self._wake.notify()
        try:
            return await request.answer, request
        except asyncio.CancelledError:
            self._withdraw(request)
            raise

    def close(self, timeout_s: float = 30.0) -> None:
        """Refuse new texts, answer those that wait, and end the threads. Blocks; call it off the event loop.

        Args:
            timeout_s: seconds to wait for each thread; texts that still wait then fail with `Overloaded`.
        """
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
        with self._wake:
            left = [*self._incoming, *self._waiting.requests()]
        self._fail(left, Overloaded("the model was shut down before this text's turn came"))

    def _withdraw(self, request: Request) -> None:
        with self._wake:
            if request.dropped:
                return
            request.dropped = True
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
            except BaseException as error:  # it belongs to this caller and must not end the thread  # noqa: BLE001
                with self._wake:
                    self._queued -= len(request.texts)
                self._fail([request], error)
                continue
            with self._wake:
                if request.dropped:
                    self._queued -= len(request.texts)
                else:
                    request.tokens = [len(one) for one in encoded]
                    request.cut = [isinstance(one, Cut) for one in encoded]
                    self._waiting.add(request, encoded)
                    # Another worker may run these while this one goes on encoding.
                    self._wake.notify()

    def _run(self, batch: list[Item]) -> None:
        try:
            logits = self._runner.run([item.encoded for item in batch])
            if len(logits) != len(batch):
                raise RuntimeError(f"the engine answered {len(logits)} rows for {len(batch)} texts")
        except BaseException as error:  # it belongs to the callers of this batch  # noqa: BLE001
            self._fail(list({id(item.request): item.request for item in batch}.values()), error)
            return
        with self._wake:
            done = []
            for item, row in zip(batch, logits, strict=True):
                request = item.request
                request.rows[item.row] = row
                request.missing -= 1
                if request.missing == 0 and not request.dropped:
                    request.dropped = True
                    done.append(request)
        _resolve(done, None)

    def _fail(self, requests: list[Request], error: BaseException) -> None:
        with self._wake:
            failed = [request for request in requests if not request.dropped]
            for request in failed:
                request.dropped = True
                self._queued -= self._waiting.drop(request)
        _resolve(failed, error)


def _resolve(requests: list[Request], error: BaseException | None) -> None:
    """Hand answers to the event loops of their callers: one wake-up per loop, not per request."""
    loops: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in requests:
        loops.setdefault(request.loop, []).append(request)
    for loop, own in loops.items():
        # A loop that is closed has no one left to tell.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, own, error)


def _settle(requests: list[Request], error: BaseException | None) -> None:
    for request in requests:
        if request.answer.done():
            continue
        if error is not None:
            # A future refuses StopIteration, and its caller would wait for ever.
            known = error if not isinstance(error, StopIteration) else RuntimeError(repr(error))
            request.answer.set_exception(known)
        else:
            request.answer.set_result(np.stack([row for row in request.rows if row is not None]))


def run_sorted(
    runner: Runner, texts: Sequence[str], *, max_batch_tokens: int = BATCH_TOKENS, max_batch: int = 64
) -> Logits:
    """Logits [n, outputs] of one list of texts, in its order, run in batches of like lengths.

    Args:
        runner: the opened engine.
        texts: at least one.
        max_batch_tokens: longest text of a batch x texts of the batch.
        max_batch: most texts of a batch.
    """
    return run_encoded(runner, runner.encode(texts), max_batch_tokens=max_batch_tokens, max_batch=max_batch)


def run_encoded(
    runner: Runner, encoded: Sequence[Encoded], *, max_batch_tokens: int = BATCH_TOKENS, max_batch: int = 64
) -> Logits:
    """`run_sorted` for texts that are encoded already."""
    answers: dict[int, Logits] = {}
    for rows in sorted_batches([len(one) for one in encoded], max_batch_tokens, max_batch):
        answers |= zip(rows, runner.run([encoded[row] for row in rows]), strict=True)
    return np.stack([answers[row] for row in range(len(encoded))])


def sorted_batches(lengths: Sequence[int], max_batch_tokens: int, max_batch: int) -> Iterator[list[int]]:
    """Numbers of the texts of each batch, shortest texts first; a text longer than the budget comes alone."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == max_batch or (len(batch) + 1) * lengths[row] > max_batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
