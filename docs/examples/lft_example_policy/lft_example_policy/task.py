"""A task: ratings, where a wrong answer is worse the further off it is, in training and in the score."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lft_ray.records.panels import Panel, PanelColumn
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.judging import Answers, RowScores, WeightedMean, WeightedMetric
from lft_ray.tasks.label_metrics import METRIC_NAMES
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Stars"]

DISTANCE_WEIGHT = 0.1
"""Weight of the expected squared distance, in labels, beside the cross-entropy."""
CLOSENESS = "closeness"


class Stars(Classification):
    """Texts with one rating each. Labels that are whole numbers are ordered by number, so positions are ratings."""

    kind = "lft_example_policy.task:Stars"
    metric_names: Mapping[str, str] = {CLOSENESS: "closeness", **METRIC_NAMES}

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM over the texts of cross-entropy and expected squared distance, in fp32.

        Args:
            logits: float [n, c].
            targets: int64 [n].
            weights: float [c] or None.
        """
        import torch

        logits = logits.float()
        ratings = torch.arange(logits.shape[1], device=logits.device)
        squared = (ratings[None, :] - targets[:, None]) ** 2
        distance = (logits.softmax(dim=1) * squared).sum(dim=1)
        if weights is not None:
            distance = distance * weights[targets]
        return super().loss(logits, targets, weights) + DISTANCE_WEIGHT * distance.sum()

    def closeness(self, targets: NDArray[Any], answers: Answers) -> NDArray[np.float64]:
        """Return 1 for the right rating, 0 for the one that is furthest off, [n]."""
        return 1.0 - np.abs(targets - answers) / max(1, self.outputs - 1)

    def row_scores(self, targets: NDArray[Any], answers: Answers) -> RowScores:
        """Return true and given rating and their closeness, float [n, 3]."""
        return np.column_stack([super().row_scores(targets, answers), self.closeness(targets, answers)])

    def weighted_metric(self, metric: str, runs: Sequence[RowScores]) -> WeightedMetric:
        """Return the mean closeness, or a metric of labels, as a function of row weights."""
        return WeightedMean(runs, column=2) if metric == CLOSENESS else super().weighted_metric(metric, runs)

    def metrics(self, targets: NDArray[Any], logits: NDArray[np.float32]) -> dict[str, float]:
        """Return the mean closeness beside the metrics of labels."""
        close = self.closeness(targets, self.answers(logits))
        return {CLOSENESS: float(close.mean()) if len(close) else 0.0, **super().metrics(targets, logits)}

    def panels(self, targets: NDArray[Any], answers: Answers) -> list[Panel]:
        """Return how far off the ratings are, then the tables of labels."""
        counts = np.bincount(np.abs(targets - answers), minlength=self.outputs).tolist()
        columns = [PanelColumn(name="Stars off"), PanelColumn(name="Rows", kind="count")]
        rows: list[list[str | int | float]] = [[str(stars), count] for stars, count in enumerate(counts)]
        return [Panel(title="Distance", columns=columns, rows=rows), *super().panels(targets, answers)]
