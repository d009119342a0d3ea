"""One label per text. Head: one output per label; loss: cross-entropy; prediction: the most probable label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import DataError
from lft_ray.records.panels import Panel, confusion_panel, label_panel
from lft_ray.tasks.base import Floats
from lft_ray.tasks.calibration import fit_temperature, top_probability
from lft_ray.tasks.columns import LABEL, TEXT, Column
from lft_ray.tasks.judging import Answers, RowScores, WeightedMetric
from lft_ray.tasks.label_answers import table
from lft_ray.tasks.label_metrics import LabelMetric, one_hot
from lft_ray.tasks.labels.labelled import Labelled
from lft_ray.tasks.rows import Values
from lft_ray.tasks.scores import balanced_weights, confusion, count_labels, f1_averages, label_rows
from lft_ray.texts import Text

if TYPE_CHECKING:
    import pyarrow as pa
    import torch


__all__ = ["Classification"]

LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "label_text", "label_name",
    "tag", "genre", "emotion", "y",
)  # fmt: skip
"""Column names tried for the label where the experiment file names none, in order of preference."""


class Classification(Labelled):
    """Texts with exactly one label each.

    Args:
        labels: label names, in the order of the head's outputs.
    """

    kind = "classification"
    columns: tuple[Column, ...] = (TEXT, Column(LABEL, LABEL_NAMES, "names", "truth"))

    is_exclusive = True

    @classmethod
    def read_targets(cls, column: "pa.Array") -> list[list[str]]:
        """Parse a label column: one name per row, none where it is null or blank.

        Raises:
            DataError: the column holds lists.
        """
        import pyarrow as pa

        if pa.types.is_nested(column.type):
            raise DataError(
                f"the label column holds lists ({column.type}), expected one label per row",
                fix="--set task.kind=multilabel",
            )
        return [
            [name] if name is not None and name.strip() else [] for name in column.cast(pa.large_string()).to_pylist()
        ]

    def encode(self, values: Values) -> NDArray[Any]:
        """Convert label names to class indices, int64 [n].

        Raises:
            DataError: a row has no label, or one that is not in ``labels``.
        """
        rows = values[LABEL]
        index = {name: position for position, name in enumerate(self.labels)}
        try:
            return np.array([index[names[0]] for names in rows], dtype=np.int64)
        except (KeyError, IndexError) as error:
            raise DataError(f"a row has no label that this task knows: {error}", fix="run lft check") from None

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM over the texts of the cross-entropy, in fp32.

        With two labels this equals binary cross-entropy on the difference of the two logits.

        Args:
            logits: float [n, c].
            targets: int64 [n].
            weights: float [c] or None.
        """
        from torch.nn import functional

        return functional.cross_entropy(logits.float(), targets, weight=weights, reduction="sum")

    def distill_loss(self, logits: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
        """Return the SUM over the texts of KL(teacher || student) at a temperature, times its square, in fp32.

        Args:
            logits: logits of the student, float [n, c].
            teacher: logits of the teacher, float [n, c].
            temperature: divisor of both logits before the softmax.
        """
        from torch.nn import functional

        target = functional.log_softmax(teacher.float() / temperature, dim=1)
        student = functional.log_softmax(logits.float() / temperature, dim=1)
        return temperature**2 * functional.kl_div(student, target, reduction="sum", log_target=True)

    def units(self, targets: NDArray[Any], weights: Floats | None) -> float:
        """Return the number of texts, or the total weight of their labels."""
        return float(len(targets) if weights is None else weights[targets].sum())

    def class_weights(self, targets: NDArray[Any]) -> Floats:
        """Return class weights [c], inversely proportional to frequency, mean 1 over the rows."""
        return balanced_weights(np.bincount(targets, minlength=self.outputs).astype(np.float64))

    def probabilities(self, logits: Floats) -> Floats:
        """Return the softmax, float32 [n, c]."""
        # The largest logit is subtracted so that exp cannot overflow.
        raised = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float32)
        result: Floats = raised / raised.sum(axis=1, keepdims=True)
        return result

    def metrics(self, targets: NDArray[Any], logits: Floats) -> dict[str, float]:
        """Return macro_f1, micro_f1, weighted_f1 and accuracy.

        A label that occurs in neither targets nor predictions is left out of the macro average.
        """
        predicted = logits.argmax(axis=1)
        averages = f1_averages(count_labels(targets, predicted, self.outputs))
        return {**averages, "accuracy": float((predicted == targets).mean()) if len(targets) else 0.0}

    def answers(self, outputs: Floats) -> Answers:
        """Return the index of the most probable label, int64 [n]."""
        best: NDArray[np.int64] = outputs.argmax(axis=1)
        return best

    def row_scores(self, targets: NDArray[Any], answers: Answers) -> RowScores:
        """Return true and predicted label, int32 [n, 2]."""
        return np.stack([targets, answers], axis=1).astype(np.int32)

    def weighted_metric(self, metric: str, runs: Sequence[RowScores]) -> WeightedMetric:
        """Return the metric of the runs as a function of row weights."""
        truth = one_hot(runs[0][:, 0], self.outputs)
        return LabelMetric(metric, truth, (one_hot(run[:, 1], self.outputs) for run in runs))

    def row_strata(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Return the true label of each row."""
        return targets.astype(np.int64)

    def same(self, ours: Answers, theirs: Answers) -> NDArray[np.bool_]:
        """Return whether the labels are equal."""
        equal: NDArray[np.bool_] = ours == theirs
        return equal

    def fit_temperature(self, outputs: Floats, targets: NDArray[Any]) -> float:
        """Return the divisor of the logits with which the probabilities are most likely on these rows."""
        return fit_temperature(outputs, targets)

    def confidence(self, outputs: Floats, temperature: float) -> NDArray[np.float64]:
        """Return the probability of the predicted label after temperature scaling, float64 [n]."""
        return top_probability(outputs, temperature)

    def answer_table(self, outputs: Floats, blank: NDArray[np.bool_], inputs: Sequence[Text]) -> "pa.Table":
        """Return the columns label, score (of the top label) and scores (in the order of the labels)."""
        import pyarrow as pa

        del inputs
        scores = self.probabilities(outputs)
        chosen = [None if nothing else names for nothing, names in zip(blank, self.chosen(scores), strict=True)]
        names = pa.array([names and names[0] for names in chosen], pa.string())
        return table(self.labels, {"label": names}, scores, blank)

    def panels(self, targets: NDArray[Any], answers: Answers) -> list[Panel]:
        """Return the scores of each label, and the confusion matrix."""
        table = confusion(targets, answers, self.outputs)
        return [
            label_panel(label_rows(count_labels(targets, answers, self.outputs), self.labels)),
            confusion_panel(self.labels, table.tolist()),
        ]

    def chosen(self, probabilities: Floats) -> list[list[str]]:
        """Return the most probable label of each text."""
        return [[self.labels[position]] for position in probabilities.argmax(axis=1)]

    def strata(self, values: Values) -> list[str]:
        """Return each row's label."""
        return [names[0] if names else "" for names in values[LABEL]]
