"""Validation predictions of runs, and whether they are those that were scored. In: arrays. Out: `Evidence`. Pure.

Predictions must reproduce the recorded F1: those of other rows are not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.selection.significance import Resampled, resample, score_intervals
from lft_ray.tasks.base import Task
from lft_ray.tasks.judging import Answers, Floats64, MetricOf, RowScores

__all__ = ["F1_TOLERANCE", "Evidence", "Key", "Scorer"]

Key = tuple[str, str, int]
"""Identity of a point: trial id, precision and max length."""
F1_TOLERANCE = 1e-6
"""Predictions must reproduce the recorded F1 this closely."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A task with the metric that is its F1.

    Attributes:
        task: scores predictions.
        metric: key of the metric.
    """

    task: Task
    metric: str

    @property
    def metric_name(self) -> str:
        """The usual spelling of the metric."""
        return self.task.metric_names.get(self.metric, self.metric)

    @property
    def metric_of(self) -> MetricOf:
        """The metric of row scores."""
        return partial(self.task.weighted_metric, self.metric)

    def can_weigh(self, targets: NDArray[Any], answers: Answers) -> bool:
        """Whether the task computes this metric under row weights: a plug-in may have it in ``metrics`` alone."""
        try:
            self.metric_of([self.task.row_scores(targets, answers)])
        except ValueError:
            return False
        return True

    def scores(self, targets: NDArray[Any], answers: Sequence[Answers]) -> Floats64:
        """F1 of each run on all rows, float64 [runs]."""
        runs = [self.task.row_scores(targets, found) for found in answers]
        result: Floats64 = self.metric_of(runs)(np.ones((1, len(targets)), dtype=np.float32))[0]
        return result


@dataclass(frozen=True, slots=True)
class Evidence:
    """Predictions of several runs on the validation split.

    Attributes:
        scorer: the task and its metric.
        targets: targets of the n rows, as the task encodes them.
        answers: (trial id of the run, precision, max length) -> predictions of the n rows.
        seed: random seed of the bootstrap.
    """

    scorer: Scorer
    targets: NDArray[Any]
    answers: Mapping[Key, Answers]
    seed: int = 0

    def scores(self, keys: Sequence[Key]) -> Floats64:
        """F1 of these runs, float64 [keys]."""
        return self.scorer.scores(self.targets, [self.answers[key] for key in keys])

    def reproduces(self, keys: Sequence[Key], recorded: Sequence[float]) -> bool:
        """Whether the predictions of all these runs are there and give the F1 that their trials recorded."""
        if not keys or not all(key in self.answers for key in keys):
            return False
        return bool((abs(self.scores(keys) - recorded) <= F1_TOLERANCE).all())

    def agreement(self, ours: Key, theirs: Key) -> float:
        """Share of rows for which two runs have the same prediction."""
        return float(self.scorer.task.same(self.answers[ours], self.answers[theirs]).mean())

    def resample(self, finalists: Sequence[Sequence[Key]], **options: Any) -> Resampled:
        """Bootstrap samples of the F1 of finalists, each given by its runs; ``options`` as of `resample`."""
        runs = [[self._row_scores(key) for key in keys] for keys in finalists]
        return resample(self.scorer.metric_of, runs, self._strata, **({"seed": self.seed} | options))

    def intervals(self, keys: Sequence[Key]) -> list[tuple[float, float]]:
        """Two-sided 95% interval of the F1 of each run."""
        runs = [self._row_scores(key) for key in keys]
        return score_intervals(self.scorer.metric_of, runs, self._strata, seed=self.seed)

    def _row_scores(self, key: Key) -> RowScores:
        return self.scorer.task.row_scores(self.targets, self.answers[key])

    @property
    def _strata(self) -> NDArray[np.int64]:
        return self.scorer.task.row_strata(self.targets)
