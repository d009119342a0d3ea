"""Two predictors that serve as one model: texts of which the small one is unsure go on to the large one.

In: texts. Out: label scores. Knows no Ray and no HTTP.
"""

import time
from collections.abc import Sequence

import numpy as np

from lft_ray.engines.batching import UnreadableText
from lft_ray.export.cascade import CascadeSpec
from lft_ray.serve.model.base import SampleResult, ScoredTexts
from lft_ray.serve.model.predictor import Predictor, RawOutput
from lft_ray.texts import Text
from lft_ray.wire import Info, Predictions

__all__ = ["Cascade"]


class Cascade:
    """A `Model` of a small and a large predictor.

    Args:
        version: version of the cascade.
        spec: temperature and confidence threshold.
        small: predictor that runs on every text.
        large: predictor that runs on the texts where the confidence of the small one is below the threshold.
    """

    def __init__(self, version: str, spec: CascadeSpec, small: Predictor, large: Predictor) -> None:
        self.version = version
        self.task = small.task
        self.samples = list(dict.fromkeys([*small.samples, *large.samples]))
        self._spec, self._small, self._large = spec, small, large
        self._texts = self._escalated = 0

    @property
    def info(self) -> Info:
        """Both models, and the share of texts that went on to the large one."""
        small, large = self._small.info, self._large.info
        return small.model_copy(
            update={
                "model": f"{small.model} > {large.model}",
                "version": self.version,
                "max_length": max(small.max_length, large.max_length),
                "engine": _joined(small.engine, large.engine),
                "precision": _joined(small.precision, large.precision),
                "large_share": self._escalated / self._texts if self._texts else None,
            }
        )

    @property
    def queued(self) -> int:
        """Number of texts in the queues of both models."""
        return self._small.queued + self._large.queued

    async def predict(
        self, texts: Sequence[Text], *, top_k: int | None = None, function: str | None = None
    ) -> Predictions:
        """Label scores of each text as `ScoredTexts`, from the model that decided on it. Raises `Overloaded`."""
        output = await self._small.infer(texts)
        scores = self._small.task.predictions(output.logits, texts, top_k=top_k, function=function)
        tokens, truncated, unread = list(output.tokens), list(output.truncated), list(output.unread)
        confidences = self._small.confidence(output.logits, self._spec.temperature)
        unsure: list[int] = np.flatnonzero(confidences < self._spec.threshold).tolist()
        self._texts += len(texts)
        self._escalated += len(unsure)
        if unsure:
            passed = [texts[number] for number in unsure]
            large_output = await self._infer_large(passed, unsure)
            large_scores = self._large.task.predictions(large_output.logits, passed, top_k=top_k, function=function)
            for row, number in enumerate(unsure):
                scores[number] = large_scores[row]
                tokens[number] += large_output.tokens[row]  # both models have read this text
                truncated[number] = large_output.truncated[row]
                unread[number] = large_output.unread[row]
        return ScoredTexts(scores, tokens, truncated, unread)

    async def _infer_large(self, texts: Sequence[Text], numbers: Sequence[int]) -> RawOutput:
        try:
            return await self._large.infer(texts)
        except UnreadableText as error:  # named by its place in the request, not among the unsure texts
            raise UnreadableText(error.message, numbers[error.row]) from error

    def run_samples(self, texts: Sequence[Text]) -> list[SampleResult]:
        """Kind of the prediction and latency of each text, run alone and without the queues. Blocks."""
        results = []
        for text in texts:
            started_at = time.perf_counter()
            logits = self._small.run_alone(text)
            model = self._small
            if self._small.confidence(logits, self._spec.temperature)[0] < self._spec.threshold:
                model, logits = self._large, self._large.run_alone(text)
            latency_ms = (time.perf_counter() - started_at) * 1000.0
            [prediction] = model.task.predictions(logits, [text])
            results.append(SampleResult(model.task.bucket(prediction), latency_ms))
        return results

    def check(self) -> None:
        """Raise when one of the two models hangs."""
        self._small.check()
        self._large.check()

    async def retire(self) -> None:
        """Finish the requests in flight in both models, then release all resources."""
        # The small one first: texts still in flight there may go on to the large one.
        await self._small.retire()
        await self._large.retire()


def _joined(small: str, large: str) -> str:
    return small if small == large else f"{small} > {large}"
