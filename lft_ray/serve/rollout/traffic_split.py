"""A candidate beside the running model in one replica: which of them answers a request, and what each of them did.

A request that the candidate fails at is answered by the running model, so a bad candidate costs time, never an answer.
"""

import asyncio
import math
import random
import time
import zlib
from collections.abc import Sequence

from lft_ray.serve.model.base import Model
from lft_ray.serve.rollout.stats import CanaryStats, RequestStats, merged
from lft_ray.wire import Canary, Predictions

__all__ = ["PATIENCE_S", "CanaryRoute", "in_canary"]

PATIENCE_S = 10.0
"""A candidate that has not answered by then has failed, and the running model is asked."""


def in_canary(key: str, share: float) -> bool:
    """Whether a request belongs to the share: always the same for the same key."""
    return zlib.crc32(key.encode()) < share * 2**32


class CanaryRoute:
    """A candidate and its share.

    Args:
        uri: where it was opened from.
        model: the candidate.
    """

    def __init__(self, uri: str, model: Model) -> None:
        self.uri = uri
        self.model = model
        self.share = 0.0
        self._running, self._own = RequestStats(), RequestStats()

    def begin(self, share: float) -> None:
        """Let it answer a share from now on. A new share counts anew."""
        if share != self.share:
            self.share = share
            self._running, self._own = RequestStats(), RequestStats()

    def stats(self) -> CanaryStats:
        """What both did since the share began, up to now."""
        return CanaryStats(merged([self._running]), merged([self._own]))

    def view(self) -> Canary:
        """What ``/info`` says of it."""
        return Canary(
            version=self.model.version,
            share=self.share,
            requests=self._own.requests,
            errors=self._own.errors,
            p95_ms=round(self._own.p95_ms, 1),
        )

    async def answer(
        self, running: Model, texts: Sequence[str], *, top_k: int | None, function: str | None, key: str | None
    ) -> tuple[Predictions, str]:
        """Answer with the model that the key belongs to; with the running one where the candidate fails."""
        if random.random() < self.share if key is None else in_canary(key, self.share):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await _counted(self.model, self._own, texts, top_k, function)
                return answer, self.model.version
            except Exception:  # whatever it is, the request is not the candidate's to lose  # noqa: BLE001
                self._own.fail()
                return await running.answer(texts, top_k=top_k, function=function), running.version
        try:
            return await _counted(running, self._running, texts, top_k, function), running.version
        except Exception:
            self._running.fail()
            raise


async def _counted(
    model: Model, stats: RequestStats, texts: Sequence[str], top_k: int | None, function: str | None
) -> Predictions:
    begun = time.perf_counter()
    answer = await model.answer(texts, top_k=top_k, function=function)
    if not all(math.isfinite(score.score) for scores in answer for score in scores):
        raise ValueError("a score is not finite")
    stats.add((time.perf_counter() - begun) * 1000.0, answer[0][0].label)
    return answer
