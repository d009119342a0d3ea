"""Inference with one opened bundle: engine, batcher and task in one plain class. Knows no Ray and no HTTP.

In: an opened bundle, and texts. Out: label scores of each text, best first. `lft_ray.serve.model.open` builds it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Runner
from lft_ray.engines.batching import Batcher, BatchObserver
from lft_ray.records import Bundle
from lft_ray.serve.model.base import ReplicaThreads, SampleResult, ScoredTexts
from lft_ray.tasks.base import ConfidentTask, Task
from lft_ray.tasks.columns import input_columns
from lft_ray.tasks.find import prediction_kind
from lft_ray.texts import Text
from lft_ray.wire import Info, Predictions

__all__ = ["Predictor", "RawOutput"]

STUCK_S = 120.0
"""With requests in flight and no result for this long, the engine counts as hung and Serve restarts the replica."""


@dataclass(frozen=True, slots=True)
class RawOutput:
    """Engine output for n texts.

    Attributes:
        logits: what the model says of each text, [n, k].
        tokens: number of tokens that the model read of each text.
        truncated: whether each text was truncated.
        unread: whether each text has no token of its own.
    """

    logits: NDArray[np.float32]
    tokens: Sequence[int]
    truncated: Sequence[bool]
    unread: Sequence[bool]


class Predictor:
    """A `Model` of one bundle.

    Args:
        bundle: record of the bundle.
        runner: the opened engine.
        task: the task, which turns logits into label scores.
        layout: worker threads and queue of the replica.
        limits: limits of the endpoint for ``/info``: max_batch, max_body_bytes.
        samples: the smoke samples that the bundle was verified with at its export.
        observe: called for every batch, from a worker thread.
    """

    def __init__(
        self,
        bundle: Bundle,
        runner: Runner,
        task: Task,
        *,
        layout: ReplicaThreads,
        limits: dict[str, int],
        samples: Sequence[Text] = (),
        observe: BatchObserver | None = None,
    ) -> None:
        self.version = bundle.version
        self.info = Info(
            model=bundle.model_size,
            version=bundle.version,
            task=bundle.task_kind,
            labels=bundle.labels,
            max_length=bundle.max_length,
            segments=len(input_columns(task.columns)),
            answers=prediction_kind(task),
            engine=bundle.engine,
            precision=bundle.precision,
            **limits,
        )
        self.samples = list(samples)
        self.task = task
        self._runner = runner
        self._batcher = Batcher(
            runner, workers=layout.workers, max_queued_texts=layout.max_queued_texts, observe=observe
        )
        self._in_flight = 0
        self._last_result_at = time.monotonic()
        self._idle = asyncio.Event()
        self._idle.set()

    async def predict(
        self, texts: Sequence[Text], *, top_k: int | None = None, function: str | None = None
    ) -> Predictions:
        """Predict each text.

        Args:
            texts: at least one.
            top_k: return only the k most probable parts of each prediction; None: as many as the task gives.
            function: ``softmax``, ``sigmoid`` or ``none`` instead of the task's own probabilities.

        Returns:
            One prediction per text, most probable part first, as `ScoredTexts`.

        Raises:
            Overloaded: the queue is full.
            UnreadableText: the engine fails on one of the texts alone.
        """
        output = await self.infer(texts)
        scores = self.task.predictions(output.logits, texts, top_k=top_k, function=function)
        return ScoredTexts(scores, output.tokens, output.truncated, output.unread)

    async def infer(self, texts: Sequence[Text]) -> RawOutput:
        """Run the engine on at least one text, batched with those of other requests. Raises `Overloaded`."""
        # After a pause the time since the last result says nothing about the engine.
        if not self._in_flight:
            self._last_result_at = time.monotonic()
        self._in_flight += 1
        self._idle.clear()
        try:
            logits, request = await self._batcher.submit_request(list(texts))
            self._last_result_at = time.monotonic()
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        return RawOutput(logits, request.tokens, request.cut, request.unread)

    def confidence(self, logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
        """How sure each prediction is, float64 [n]; of a task without a confidence there is no cascade that asks."""
        assert isinstance(self.task, ConfidentTask)
        return self.task.confidence(logits, temperature)

    @property
    def queued(self) -> int:
        """Number of texts in the queue."""
        return self._batcher.queued

    def run_samples(self, texts: Sequence[Text]) -> list[SampleResult]:
        """Kind of the prediction and latency of each text, run alone and without the queue. Blocks."""
        results = []
        for text in texts:
            started_at = time.perf_counter()
            logits = self.run_alone(text)
            latency_ms = (time.perf_counter() - started_at) * 1000.0
            [prediction] = self.task.predictions(logits, [text])
            results.append(SampleResult(self.task.bucket(prediction), latency_ms))
        return results

    def run_alone(self, text: Text) -> NDArray[np.float32]:
        """What the model says of one text, [1, k],, run without the queue. Blocks."""
        return self._runner.run(self._runner.encode([text]))

    def check(self) -> None:
        """Raise when requests are in flight and none has completed for `STUCK_S` seconds: the engine hangs."""
        waited_s = time.monotonic() - self._last_result_at
        if self._in_flight and waited_s > STUCK_S:
            raise RuntimeError(
                f"no result from the engine for {waited_s:.0f} s with {self._in_flight} requests in flight"
            )

    async def retire(self) -> None:
        """Wait for the requests in flight, then stop the worker threads."""
        await self._idle.wait()
        await asyncio.to_thread(self._batcher.close)
