"""Our engine without our server: texts in, best labels out."""

from pathlib import Path

import numpy as np

from lft_ray.export.bundle import open_bundle
from lft_ray.tasks.base import LabelTask

__all__ = ["Classifier"]


class Classifier:
    """A bundle's engine.

    Args:
        folder: of the bundle.
        threads: of the engine.
    """

    def __init__(self, folder: str, *, threads: int) -> None:
        opened = open_bundle(Path(folder))
        self.runner = opened.open_runner(threads=threads)
        self._task = opened.task()

    def __call__(self, texts: list[str]) -> list[dict[str, str | float]]:
        """Best label of each text, run as one batch in the order given."""
        logits = self.runner.run(self.runner.encode(texts))
        return self.decoded(logits)

    def decoded(self, logits: np.ndarray) -> list[dict[str, str | float]]:
        """Best labels of rows of logits."""
        assert isinstance(self._task, LabelTask)
        answers = self._task.decode(self._task.probabilities(logits))
        return [{"label": scores[0].label, "score": float(scores[0].score)} for scores in answers]
