"""Two predictors that answer as one model: the small one where it is sure, the large one for the rest.

In: texts. Out: label scores. Knows no Ray and no HTTP.
"""

import time
from collections.abc import Sequence

import numpy as np

from lft_ray.export.cascade import CascadeSpec
from lft_ray.selection.cascade import confidence
from lft_ray.serve.model.base import SampleResult, ScoredTexts
from lft_ray.serve.model.predictor import Predictor
from lft_ray.wire import Info, Predictions

__all__ = ["Cascade"]


class Cascade:
    """Answers texts with two models until it is retired.

    Args:
        version: of the cascade.
        spec: temperature and threshold.
        small: asked first, with every text.
        large: asked with the texts that the small one is not sure of.
    """

    def __init__(self, version: str, spec: CascadeSpec, small: Predictor, large: Predictor) -> None:
        self.version = version
        self.samples = list(dict.fromkeys([*small.samples, *large.samples]))
        self._spec, self._small, self._large = spec, small, large
        self._texts = self._asked = 0

    @property
    def info(self) -> Info:
        """Both models, and the share of texts that the large one has been asked."""
        small, large = self._small.info, self._large.info
        return small.model_copy(
            update={
                "model": f"{small.model} > {large.model}",
                "version": self.version,
                "max_length": max(small.max_length, large.max_length),
                "engine": _joined(small.engine, large.engine),
                "precision": _joined(small.precision, large.precision),
                "large_share": self._asked / self._texts if self._texts else None,
            }
        )

    @property
    def queued(self) -> int:
        """Texts that wait for their turn at one of the two."""
        return self._small.queued + self._large.queued

    async def answer(
        self, texts: Sequence[str], *, top_k: int | None = None, function: str | None = None
    ) -> Predictions:
        """Label scores of each text as `ScoredTexts`, of the model that answered it. Raises `Overloaded`."""
        asked = await self._small.ask(texts)
        answer = self._small.decode(asked.logits, top_k=top_k, function=function)
        tokens, cut = list(asked.tokens), list(asked.cut)
        sureness = confidence(asked.logits, self._spec.temperature)
        unsure: list[int] = np.flatnonzero(sureness < self._spec.threshold).tolist()
        self._texts += len(texts)
        self._asked += len(unsure)
        if unsure:
            again = await self._large.ask([texts[number] for number in unsure])
            scores = self._large.decode(again.logits, top_k=top_k, function=function)
            for place, number in enumerate(unsure):
                answer[number] = scores[place]
                tokens[number] += again.tokens[place]
                cut[number] = again.cut[place]
        return ScoredTexts(answer, tokens, cut)

    def probe(self, texts: Sequence[str]) -> list[SampleResult]:
        """Best label and latency of each text, asked alone and past the queues. Blocks."""
        found = []
        for text in texts:
            begun = time.perf_counter()
            logits = self._small.run_alone(text)
            model = self._small
            if confidence(logits, self._spec.temperature)[0] < self._spec.threshold:
                model, logits = self._large, self._large.run_alone(text)
            latency_ms = (time.perf_counter() - begun) * 1000.0
            found.append(SampleResult(model.decode(logits)[0][0].label, latency_ms))
        return found

    def check(self) -> None:
        """Raise when one of the two hangs."""
        self._small.check()
        self._large.check()

    async def retire(self) -> None:
        """Finish what is in flight in both, then free everything."""
        # The small one first: what it still answers may go on to the large one.
        await self._small.retire()
        await self._large.retire()


def _joined(small: str, large: str) -> str:
    return small if small == large else f"{small} > {large}"
