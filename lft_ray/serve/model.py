"""What the service needs of a model, whatever is behind it: one bundle, or two that share the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lft_ray.wire import Answer, Info

__all__ = ["Model", "Probe"]


@dataclass(frozen=True, slots=True)
class Probe:
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

    async def answer(self, texts: Sequence[str], *, top_k: int | None, function: str | None) -> Answer:
        """Label scores of each text, best first; a `Scored` where tokens and cuts are known."""

    def probe(self, texts: Sequence[str]) -> list[Probe]:
        """Best label and latency of each text, one after the other. Blocks."""

    def check(self) -> None:
        """Raise when the model can no longer answer."""

    async def retire(self) -> None:
        """Finish what is in flight, then free everything."""
