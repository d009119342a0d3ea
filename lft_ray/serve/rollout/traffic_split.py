"""Traffic split between the running model and a candidate within one replica, with the statistics of both.

In: the texts and id of a request. Out: predictions, and the version that made them. A request that fails on the
candidate is repeated on the running model, so a bad candidate costs latency but never a response.
"""

import asyncio
import math
import random
import time
import zlib
from collections.abc import Sequence

from lft_ray.serve.model.base import Model
from lft_ray.serve.rollout.gate import distinct_key
from lft_ray.serve.rollout.stats import CanaryStats, RequestStats, merged
from lft_ray.texts import Text
from lft_ray.wire import Canary, Predictions

__all__ = ["CANDIDATE_TIMEOUT_S", "CanaryRoute", "in_canary"]

CANDIDATE_TIMEOUT_S = 10.0
"""A request without a prediction of the candidate by then counts as its error, and the running model serves it."""

_MAX_TEXTS = 100_000
"""Distinct texts whose predictions are counted: far more than a test of their shares needs."""


def in_canary(key: str, share: float) -> bool:
    """Whether the candidate serves a request: deterministic in the key, and monotonic in the share."""
    return zlib.crc32(key.encode()) < share * 2**32


class CanaryRoute:
    """A candidate and the share of requests that it serves.

    Args:
        uri: URI that the candidate was opened from.
        model: the candidate.
    """

    def __init__(self, uri: str, model: Model) -> None:
        self.uri = uri
        self.model = model
        self.share = 0.0
        self._running_stats, self._candidate_stats = RequestStats(), RequestStats()
        self._seen: tuple[set[int], set[int]] = (set(), set())
        """Hashes of the texts whose predictions the statistics of the running model and of the candidate contain."""

    def begin(self, share: float) -> None:
        """Serve a share of the requests from now on; a change of the share resets the statistics."""
        if share != self.share:
            self.share = share
            self._running_stats, self._candidate_stats = RequestStats(), RequestStats()
            self._seen = (set(), set())

    def stats(self) -> CanaryStats:
        """Snapshot of the statistics of both models since the share last changed."""
        return CanaryStats(merged([self._running_stats]), merged([self._candidate_stats]))

    def info(self) -> Canary:
        """Description of the canary for ``/info``."""
        return Canary(
            version=self.model.version,
            share=self.share,
            requests=self._candidate_stats.requests,
            errors=self._candidate_stats.errors,
            p95_ms=round(self._candidate_stats.p95_ms, 1),
        )

    async def predict(
        self, running: Model, texts: Sequence[Text], *, top_k: int | None, function: str | None, key: str | None
    ) -> tuple[Predictions, str]:
        """Predict with the model that the key selects, or with the running one if the candidate fails.

        Args:
            running: the running model.
            texts: at least one.
            top_k: see `Model.predict`.
            function: see `Model.predict`.
            key: id of the request; None: a random draw decides.

        Returns:
            The predictions, and the version of the model that made them.
        """
        if random.random() < self.share if key is None else in_canary(key, self.share):
            try:
                async with asyncio.timeout(CANDIDATE_TIMEOUT_S):
                    predictions = await self._predict_counted(self.model, texts, top_k, function)
                return predictions, self.model.version
            except Exception:  # a candidate must not cost a response, whatever it raises  # noqa: BLE001
                self._candidate_stats.fail()
                return await running.predict(texts, top_k=top_k, function=function), running.version
        try:
            return await self._predict_counted(running, texts, top_k, function), running.version
        except Exception:
            self._running_stats.fail()
            raise

    async def _predict_counted(
        self, model: Model, texts: Sequence[Text], top_k: int | None, function: str | None
    ) -> Predictions:
        is_candidate = model is self.model
        stats = self._candidate_stats if is_candidate else self._running_stats
        seen = self._seen[is_candidate]
        started_at = time.perf_counter()
        predictions = await model.predict(texts, top_k=top_k, function=function)
        if not all(math.isfinite(score.score) for scores in predictions for score in scores):
            raise ValueError("a score is not finite")
        latency_ms = (time.perf_counter() - started_at) * 1000.0
        key = hash(distinct_key(texts[0]))
        is_new = key not in seen and len(seen) < _MAX_TEXTS
        if is_new:
            seen.add(key)
        stats.add(latency_ms, model.task.bucket(predictions[0]) if is_new else None)
        return predictions
