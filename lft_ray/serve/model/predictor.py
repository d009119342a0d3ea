"""One opened bundle that answers texts: engine, batcher and task in one plain class. Knows no Ray and no HTTP.

In: an opened bundle, texts. Out: label scores of the texts, best first. `lft_ray.serve.model.open` makes one.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Runner
from lft_ray.engines.batching import Batcher
from lft_ray.records import Bundle
from lft_ray.serve.model.base import ReplicaThreads, SampleResult, ScoredTexts
from lft_ray.tasks.base import Task
from lft_ray.wire import Info, Predictions

__all__ = ["Predictor"]

STUCK_S = 120.0


@dataclass(frozen=True, slots=True)
class RawOutput:
    """Logits [n, c] of n texts, the tokens that were read of each, and whether its end was cut off."""

    logits: NDArray[np.float32]
    tokens: Sequence[int]
    cut: Sequence[bool]


class Predictor:
    """Answers texts with one model until it is retired.

    Args:
        bundle: what is served.
        runner: the opened engine.
        task: turns logits into label scores.
        layout: of the replica.
        limits: the endpoint's limits, for ``/info``: max_batch, max_body_bytes.
        samples: texts that it was tried on at its export.
    """

    def __init__(
        self,
        bundle: Bundle,
        runner: Runner,
        task: Task,
        *,
        layout: ReplicaThreads,
        limits: dict[str, int],
        samples: Sequence[str] = (),
    ) -> None:
        self.version = bundle.version
        self.info = Info(
            model=bundle.model_size,
            version=bundle.version,
            task=bundle.task_kind,
            labels=bundle.labels,
            max_length=bundle.max_length,
            engine=bundle.engine,
            precision=bundle.precision,
            **limits,
        )
        self.samples = list(samples)
        self._task = task
        self._runner = runner
        self._batcher = Batcher(runner, workers=layout.workers, max_queued_texts=layout.max_queued_texts)
        self._in_flight = 0
        self._last_answer = time.monotonic()
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer(
        self, texts: Sequence[str], *, top_k: int | None = None, function: str | None = None
    ) -> Predictions:
        """Score the labels of each text.

        Args:
            texts: at least one.
            top_k: only the best k labels of each text; None: all.
            function: ``softmax``, ``sigmoid`` or ``none`` instead of the task's own probabilities.

        Returns:
            One list a text, best label first, as `ScoredTexts`.

        Raises:
            Overloaded: too many texts wait already.
        """
        asked = await self.ask(texts)
        return ScoredTexts(self.decode(asked.logits, top_k=top_k, function=function), asked.tokens, asked.cut)

    async def ask(self, texts: Sequence[str]) -> RawOutput:
        """Run at least one text. Raises `Overloaded`."""
        if not self._in_flight:
            self._last_answer = time.monotonic()
        self._in_flight += 1
        self._idle.clear()
        try:
            logits, request = await self._batcher.submit_request(list(texts))
            self._last_answer = time.monotonic()
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        return RawOutput(logits, request.tokens, request.cut)

    def decode(
        self, logits: NDArray[np.float32], *, top_k: int | None = None, function: str | None = None
    ) -> Predictions:
        """Label scores of logits [n, c]."""
        answer = self._task.decode(_scores(self._task, logits, function))
        return answer if top_k is None else [scores[:top_k] for scores in answer]

    @property
    def queued(self) -> int:
        """Texts that wait."""
        return self._batcher.queued

    def probe(self, texts: Sequence[str]) -> list[SampleResult]:
        """Best label and latency of each text, asked alone and past the queue. Blocks."""
        found = []
        for text in texts:
            begun = time.perf_counter()
            logits = self.run_alone(text)
            latency_ms = (time.perf_counter() - begun) * 1000.0
            found.append(SampleResult(self.decode(logits)[0][0].label, latency_ms))
        return found

    def run_alone(self, text: str) -> NDArray[np.float32]:
        """Logits [1, c] of one text, past the queue. Blocks."""
        return self._runner.run(self._runner.encode([text]))

    def check(self) -> None:
        """Raise when texts are in flight and none has been answered for `STUCK_S`: the engine hangs."""
        waited_s = time.monotonic() - self._last_answer
        if self._in_flight and waited_s > STUCK_S:
            raise RuntimeError(f"no text was answered for {waited_s:.0f} s, {self._in_flight} requests are in flight")

    async def retire(self) -> None:
        """Wait for the answers in flight, then stop the threads."""
        await self._idle.wait()
        await asyncio.to_thread(self._batcher.close)


def _scores(task: Task, logits: NDArray[np.float32], function: str | None) -> NDArray[np.float32]:
    if function is None:
        return task.probabilities(logits)
    if function == "none":
        return logits
    if function == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0))), dtype=np.float32)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
