"""What the service needs of a model, whatever is behind it: one bundle, or two that share the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lft_ray.wire import Info, LabelScore, Predictions

__all__ = ["Model", "ReplicaThreads", "SampleResult", "ScoredTexts"]


class ScoredTexts(list[list[LabelScore]]):
    """Label scores of each text, best first, as `lft_ray.wire.Answer`.

    Attributes:
        tokens: how many tokens of each text the model read (TF-IDF: words).
        cut: whether the end of each text was cut off.
    """

    def __init__(self, answer: list[list[LabelScore]], tokens: Sequence[int] = (), cut: Sequence[bool] = ()) -> None:
        super().__init__(answer)
        self.tokens = tokens
        self.cut = cut


@dataclass(frozen=True, slots=True)
class ReplicaThreads:
    """Workers, threads and queue of a replica.

    Attributes:
        cores: that it has.
        preset: ``throughput`` or ``latency``.
        max_queued_texts: see ``serve.max_queued_texts``.
    """

    cores: int
    preset: str = "throughput"
    max_queued_texts: int = 1024

    @property
    def workers(self) -> int:
        """Threads that run batches of their own.

        Two workers of one thread each answered 458 texts a second on 2 cores, one worker of two threads 374; a text
        that came alone took 4.1 and 2.9 ms.
        """
        return 1 if self.preset == "latency" else self.cores

    @property
    def threads(self) -> int:
        """Threads of one batch."""
        return self.cores if self.preset == "latency" else 1


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One text, asked alone and past the queue."""

    label: str
    latency_ms: float


class Model(Protocol):
    """An opened model."""

    version: str
    samples: list[str]
    """Texts that it was tried on at its export."""

    @property
    def info(self) -> Info:
        """What ``/info`` says of it."""

    @property
    def queued(self) -> int:
        """Texts that wait for their turn."""

    async def answer(self, texts: Sequence[str], *, top_k: int | None, function: str | None) -> Predictions:
        """Label scores of each text, best first; a `ScoredTexts` where tokens and cuts are known."""

    def probe(self, texts: Sequence[str]) -> list[SampleResult]:
        """Best label and latency of each text, one after the other. Blocks."""

    def check(self) -> None:
        """Raise when the model can no longer answer."""

    async def retire(self) -> None:
        """Finish what is in flight, then free everything."""
