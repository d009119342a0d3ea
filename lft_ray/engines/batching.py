"""Dynamic batching for an engine: by padded-token budget and similar length, without a wait timer.

In: texts, from coroutines of any event loop. Out: their logits. `Batcher` serves concurrent requests with a
`PendingQueue`; `run_sorted` and `run_encoded` run one long list. Never knows HTTP, Ray or labels.

A worker thread that becomes free tokenises a slice of the arrived texts, takes the text whose turn it is and fills the
batch with the texts closest to it in length. Without load, a text therefore runs immediately and alone; under load,
batches form by themselves. A text on which the engine fails never fails the others of its batch.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import BATCH_TOKENS, Encoded, Runner, sorted_batches
from lft_ray.engines.pending import Item, PendingQueue, Request
from lft_ray.errors import LftError
from lft_ray.texts import Text, whole

__all__ = [
    "BATCH_TOKENS",
    "BatchObserver",
    "Batcher",
    "Overloaded",
    "UnreadableText",
    "run_encoded",
    "run_sorted",
    "sorted_batches",
]  # fmt: skip


logger = logging.getLogger("lft_ray.engines")

Logits = NDArray[np.float32]
_SLICE_TEXTS = 16
"""Texts of one request that are tokenised before another request's: of 128 texts at once, the next request would wait
for all of them."""
_SLICE_CHARS = 16_384
"""Characters tokenised between two batches, some 15 ms of CPU time: enough for several batches of short texts."""
_READ_CHARS = 8
"""Characters per token of the maximum length that a tokenizer reads of a long text, roughly."""
_CHARS_PER_TOKEN = 4
_LOOKAHEAD = 256
"""Tokenised texts that wait to run before no more are tokenised: enough to choose texts of similar length from."""

BatchObserver = Callable[[int, float], None]
"""Called for every batch with its number of texts, and the seconds that its oldest request had waited."""


class Overloaded(LftError):
    """The queue is full or the batcher is closed; the caller may retry shortly."""


class UnreadableText(LftError):
    """The engine fails on this text alone, while it runs others.

    Attributes:
        row: index of the text in its request.
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row

    def __reduce__(self) -> tuple[object, ...]:
        return (UnreadableText, (self.message, self.row))


class Batcher:
    """Runs texts of many concurrent callers on one engine.

    Args:
        runner: opened engine.
        workers: number of threads that run batches.
        max_batch_tokens: maximum padded tokens per batch (longest text x number of texts); a longer text runs alone.
        max_batch: maximum texts per batch.
        max_queued_texts: capacity of the queue in texts; beyond it `Overloaded` is raised.
        observe: called for every batch, from a worker thread.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        workers: int = 1,
        max_batch_tokens: int = BATCH_TOKENS,
        max_batch: int = 64,
        max_queued_texts: int = 4096,
        observe: BatchObserver | None = None,
    ) -> None:
        self._runner = runner
        self._observe = observe
        self._good: Encoded | None = None
        self._max_queued_texts = max_queued_texts
        self._waiting = PendingQueue(max_batch_tokens, max_batch)
        self._incoming: deque[Request] = deque()
        self._begun: deque[Request] = deque()
        self._read_chars = _READ_CHARS * runner.max_length
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

    async def submit(self, texts: Sequence[Text]) -> Logits:
        """Compute logits [n, outputs] of the texts, in their order.

        Cancelling the awaiting task removes the texts that are not running yet.

        Raises:
            Overloaded: the queue is full, or the batcher is closed.
            UnreadableText: the engine fails on one of these texts alone, while it runs others.
            Exception: the error that the runner raised for one of these texts.
        """
        return (await self.submit_request(texts))[0]

    async def submit_request(self, texts: Sequence[Text]) -> tuple[Logits, Request]:
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
            unfinished = [*self._incoming, *self._begun, *self._waiting.requests()]
        self._fail(unfinished, Overloaded("the model was shut down before this text was processed"))

    def _cancel(self, request: Request) -> None:
        with self._wake:
            if not request.finished:
                self._forget(request)

    def _forget(self, request: Request) -> None:
        """Mark a request as finished and remove its texts that are not running. Call it under the lock."""
        request.finished = True
        self._queued -= self._waiting.drop(request)
        for waiting in (self._incoming, self._begun):
            if request in waiting:  # else a worker is encoding it, and counts its other texts itself
                waiting.remove(request)
                self._queued -= request.unencoded

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._has_unencoded and not len(self._waiting):
                    if self._closed:
                        return
                    self._wake.wait()
            # Outside the lock: tokenising and running batches take milliseconds, and submit must not wait for them.
            self._encode_slice()
            with self._wake:
                if not len(self._waiting):
                    continue
                batch = self._waiting.take()
                self._queued -= len(batch)
                if len(self._waiting) or self._has_unencoded:
                    self._wake.notify()
            if self._observe is not None:
                oldest = min(item.request.submitted_at for item in batch)
                self._observe(len(batch), time.perf_counter() - oldest)
            self._run(batch)

    @property
    def _has_unencoded(self) -> bool:
        return bool(self._incoming or self._begun)

    def _encode_slice(self) -> None:
        """Tokenise arrived texts until the slice is used up: in turn the next of a new and of a begun request."""
        chars, turn = 0, 0
        while chars < _SLICE_CHARS:
            with self._wake:
                if not self._has_unencoded or len(self._waiting) >= _LOOKAHEAD:
                    return
                first, second = (self._incoming, self._begun)[:: 1 if turn % 2 == 0 else -1]
                request = (first or second).popleft()
            chars += self._encode(request)
            turn += 1

    def _encode(self, request: Request) -> int:
        """Tokenise the next texts of a request; returns their number of characters."""
        texts = request.next_texts(_SLICE_TEXTS)
        try:
            encoded = self._runner.encode(texts)
        except BaseException as error:  # reported to this caller; must not end the thread  # noqa: BLE001
            with self._wake:
                self._queued -= request.unencoded
            self._fail([request], error)
            return 0
        with self._wake:
            if request.finished:
                self._queued -= request.unencoded
            else:
                self._waiting.add(request, encoded)
                if request.unencoded:
                    self._begun.append(request)
                # Another worker may run these texts while this one encodes the next.
                self._wake.notify()
        # Of a context that is read in windows more is tokenised than of a text that is truncated.
        read = sum(min(len(whole(text)), self._read_chars) for text in texts)
        return max(read, _CHARS_PER_TOKEN * sum(map(len, encoded)))

    def _run(self, batch: list[Item]) -> None:
        try:
            logits = self._logits([item.encoded for item in batch])
        except BaseException as error:  # reported to the caller of the text that causes it  # noqa: BLE001
            self._isolate(batch, error)
            return
        self._good = batch[0].encoded
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

    def _logits(self, batch: list[Encoded]) -> Logits:
        logits = self._runner.run(batch)
        if len(logits) != len(batch):
            raise RuntimeError(f"the engine returned {len(logits)} rows for {len(batch)} texts")
        if not np.isfinite(logits).all():
            raise ArithmeticError("the engine returned values that are not finite")
        return logits

    def _isolate(self, batch: list[Item], error: BaseException) -> None:
        """Run the halves of a batch that failed, until the text that the engine fails on is alone."""
        if len(batch) > 1:
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                wanted = [item for item in half if not item.request.finished]
                if wanted:
                    self._run(wanted)
            return
        [item] = batch
        self._fail([item.request], self._cause(item, error))

    def _cause(self, item: Item, error: BaseException) -> BaseException:
        """The error of a text that failed alone: `UnreadableText` if the engine still runs a text that it has run."""
        if self._good is None:
            return error
        try:
            self._logits([self._good])
        except BaseException:  # the engine itself is broken  # noqa: BLE001
            return error
        logger.warning("the engine fails on one text: %s: %s", type(error).__name__, error)
        return UnreadableText(f"the model fails on a text: {type(error).__name__}", item.row)

    def _fail(self, requests: list[Request], error: BaseException) -> None:
        with self._wake:
            failed = [request for request in requests if not request.finished]
            for request in failed:
                self._forget(request)
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
    runner: Runner, texts: Sequence[Text], *, max_batch_tokens: int = BATCH_TOKENS, max_batch: int = 64
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
