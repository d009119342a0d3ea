"""The interface of a servable model, and the types that it shares with its users.

In: texts. Out: label scores. Implemented by `Predictor` (one bundle) and `Cascade` (two bundles). Knows no Ray and no
HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lft_ray.tasks.base import Task
from lft_ray.texts import Text
from lft_ray.wire import Info, Prediction, Predictions

__all__ = ["Model", "ReplicaThreads", "SampleResult", "ScoredTexts"]


class ScoredTexts(list[Prediction]):
    """Predictions of each text, most probable part first: `lft_ray.wire.Predictions` with what was read of each text.

    Attributes:
        tokens: number of tokens of each text that the model read (TF-IDF: words).
        truncated: whether each text was truncated to the model's maximum length.
        unread: whether each text has no token of its own, so that its scores do not depend on it.
    """

    def __init__(
        self,
        scores: Sequence[Prediction],
        tokens: Sequence[int] = (),
        truncated: Sequence[bool] = (),
        unread: Sequence[bool] = (),
    ) -> None:
        super().__init__(scores)
        self.tokens = tokens
        self.truncated = truncated
        self.unread = unread


@dataclass(frozen=True, slots=True)
class ReplicaThreads:
    """Worker threads and queue of a replica.

    Attributes:
        cores: number of CPU cores of the replica.
        preset: ``throughput`` (one worker per core) or ``latency`` (one worker that uses all cores).
        max_queued_texts: maximum number of queued texts, as ``serve.max_queued_texts``.
    """

    cores: int
    preset: str = "throughput"
    max_queued_texts: int = 1024

    @property
    def workers(self) -> int:
        """Number of workers, each of which runs its own batches.

        On 2 cores, two workers of one thread each reached 458 texts per second, one worker of two threads 374; the
        latency of a single text was 4.1 ms and 2.9 ms.
        """
        return 1 if self.preset == "latency" else self.cores

    @property
    def threads(self) -> int:
        """Number of engine threads per batch."""
        return self.cores if self.preset == "latency" else 1


@dataclass(frozen=True, slots=True)
class SampleResult:
    """Prediction for one text, run alone and without the queue."""

    bucket: str
    """Kind of the prediction, as `Task.bucket` tells it."""
    latency_ms: float


class Model(Protocol):
    """An opened model that serves predictions until it is retired."""

    version: str
    task: Task
    """The task that its predictions answer."""
    samples: list[Text]
    """The smoke samples that it was verified with at its export."""

    @property
    def info(self) -> Info:
        """Description of the model for ``/info``."""

    @property
    def queued(self) -> int:
        """Number of texts in the queue."""

    async def predict(self, texts: Sequence[Text], *, top_k: int | None, function: str | None) -> Predictions:
        """Prediction of each text, most probable part first; `ScoredTexts` where it is known what was read."""

    def run_samples(self, texts: Sequence[Text]) -> list[SampleResult]:
        """Kind of the prediction and latency of each text, run one after the other and without the queue. Blocks."""

    def check(self) -> None:
        """Raise when the model is no longer able to serve."""

    async def retire(self) -> None:
        """Finish the requests in flight, then release all resources."""
