"""Any number of labels per text. Head: one output per label; loss: binary cross-entropy; prediction: scores >= 0.5."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import DataError
from lft_ray.records.panels import Panel, label_panel
from lft_ray.tasks.base import Floats
from lft_ray.tasks.columns import LABEL, TEXT, Column
from lft_ray.tasks.judging import Answers, RowScores, WeightedMetric
from lft_ray.tasks.label_answers import table
from lft_ray.tasks.label_metrics import LabelMetric, rarest_label
from lft_ray.tasks.labels.labelled import Labelled
from lft_ray.tasks.rows import Values
from lft_ray.tasks.scores import balanced_weights, count_matrix, f1_averages, label_rows
from lft_ray.texts import Text

if TYPE_CHECKING:
    import pyarrow as pa
    import torch


__all__ = ["Multilabel"]

LABEL_NAMES = (
    "labels", "label", "tags", "classes", "categories", "topics", "emotions", "targets", "intents", "class",
    "category", "target", "topic", "genres",
)  # fmt: skip
"""Column names tried for the labels when the experiment file does not name one, in order of preference."""

THRESHOLD = 0.5
"""Probability from which a label is predicted."""


class Multilabel(Labelled):
    """Texts with no, one or several labels.

    Args:
        labels: label names, in the order of the head's outputs.
    """

    kind = "multilabel"
    columns: tuple[Column, ...] = (TEXT, Column(LABEL, LABEL_NAMES, "names", "truth"))

    is_exclusive = False

    @classmethod
    def read_targets(cls, column: "pa.Array") -> list[list[str]]:
        """Parse lists of names, or names joined by commas; null and blank mean no label."""
        import pyarrow as pa

        rows = column.to_pylist()
        if pa.types.is_nested(column.type):
            return [[str(name) for name in names or () if name is not None and str(name).strip()] for names in rows]
        return [
            [name for name in str(joined).split(",") if name.strip()] if joined is not None else [] for joined in rows
        ]

    @classmethod
    def allows_empty(cls) -> bool:
        """Return True: a text without labels is a valid example."""
        return True

    def encode(self, values: Values) -> NDArray[Any]:
        """Convert label names to a 0/1 matrix, float32 [n, c].

        Raises:
            DataError: a row has a label that is not in ``labels``.
        """
        rows = values[LABEL]
        index = {name: position for position, name in enumerate(self.labels)}
        matrix = np.zeros((len(rows), len(self.labels)), dtype=np.float32)
        try:
            for row, names in enumerate(rows):
                matrix[row, [index[name] for name in names]] = 1.0
        except KeyError as error:
            raise DataError(f"a row has a label that this task does not know: {error}", fix="run lft check") from None
        return matrix

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM over texts and labels of the binary cross-entropy, in fp32.

        Args:
            logits: float [n, c].
            targets: float [n, c] of 0 and 1.
            weights: float [c] or None; scales the loss of a label for positives and negatives alike.
        """
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(
            logits.float(), targets.float(), weight=weights, reduction="sum"
        )

    def distill_loss(self, logits: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
        """Return the SUM over texts and labels of the binary KL(teacher || student), times the temperature squared.

        Args:
            logits: logits of the student, float [n, c].
            teacher: logits of the teacher, float [n, c].
            temperature: divisor of both logits before the sigmoid.
        """
        import torch
        from torch.nn import functional

        # Each label as a distribution over yes and no: the softmax of (z/2, -z/2) is the sigmoid of z.
        halves = torch.tensor([0.5, -0.5], device=logits.device) / temperature
        target = functional.log_softmax(teacher.float().unsqueeze(2) * halves, dim=2)
        student = functional.log_softmax(logits.float().unsqueeze(2) * halves, dim=2)
        return temperature**2 * functional.kl_div(student, target, reduction="sum", log_target=True)

    def units(self, targets: NDArray[Any], weights: Floats | None) -> float:
        """Return the number of texts."""
        return float(len(targets))

    def class_weights(self, targets: NDArray[Any]) -> Floats:
        """Return label weights [c], inversely proportional to frequency, mean 1 over all positive targets."""
        return balanced_weights(targets.sum(axis=0, dtype=np.float64))

    def probabilities(self, logits: Floats) -> Floats:
        """Return the sigmoid of each logit, float32 [n, c]."""
        # exp is only taken of non-positive numbers, so it cannot overflow.
        small = np.exp(-np.abs(logits), dtype=np.float32)
        result: Floats = np.where(logits >= 0, 1.0 / (1.0 + small), small / (1.0 + small)).astype(np.float32)
        return result

    def metrics(self, targets: NDArray[Any], logits: Floats) -> dict[str, float]:
        """Return macro_f1, micro_f1, weighted_f1, and accuracy: the share of rows with every label right.

        A label that occurs in neither targets nor predictions is left out of the macro average.
        """
        truth, predicted = self._binarised(targets, logits)
        averages = f1_averages(count_matrix(truth, predicted))
        return {**averages, "accuracy": float((truth == predicted).all(axis=1).mean()) if len(truth) else 0.0}

    def answers(self, outputs: Floats) -> Answers:
        """Return whether each label is predicted, bool [n, c]."""
        # The threshold, a probability of 0.5, is a logit of 0.
        return np.asarray(outputs >= 0.0)

    def row_scores(self, targets: NDArray[Any], answers: Answers) -> RowScores:
        """Return true and predicted labels, bool [n, 2c]."""
        return np.hstack([targets >= THRESHOLD, answers])

    def weighted_metric(self, metric: str, runs: Sequence[RowScores]) -> WeightedMetric:
        """Return the metric of the runs as a function of row weights."""
        truth = runs[0][:, : self.outputs]
        return LabelMetric(metric, truth, (run[:, self.outputs :] for run in runs))

    def row_strata(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Return the rarest label of each row."""
        return rarest_label(targets >= THRESHOLD)

    def same(self, ours: Answers, theirs: Answers) -> NDArray[np.bool_]:
        """Return whether all labels are equal."""
        equal: NDArray[np.bool_] = (ours == theirs).all(axis=1)
        return equal

    def answer_table(self, outputs: Floats, blank: NDArray[np.bool_], inputs: Sequence[Text]) -> "pa.Table":
        """Return the columns labels (a list), score (of the top label) and scores (in the order of the labels)."""
        import pyarrow as pa

        del inputs
        scores = self.probabilities(outputs)
        chosen = [None if nothing else names for nothing, names in zip(blank, self.chosen(scores), strict=True)]
        return table(self.labels, {"labels": pa.array(chosen, pa.list_(pa.string()))}, scores, blank)

    def panels(self, targets: NDArray[Any], answers: Answers) -> list[Panel]:
        """Return the scores of each label; a confusion matrix is not defined for several labels per row."""
        return [label_panel(label_rows(count_matrix(targets >= THRESHOLD, answers), self.labels))]

    def chosen(self, probabilities: Floats) -> list[list[str]]:
        """Return the labels of each text with a probability of 0.5 or more; there may be none."""
        return [[self.labels[position] for position in np.flatnonzero(row >= THRESHOLD)] for row in probabilities]

    def strata(self, values: Values) -> list[str]:
        """Return the rarest label of each row (ties by name), so that rare labels reach every split."""
        rows = values[LABEL]
        counts = Counter(name for names in rows for name in names)
        return [min(names, key=lambda name: (counts[name], name)) if names else "" for names in rows]

    def _binarised(self, targets: NDArray[Any], logits: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return targets >= THRESHOLD, self.probabilities(logits) >= THRESHOLD
