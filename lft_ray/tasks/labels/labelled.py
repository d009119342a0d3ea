"""Base of tasks whose truth is names of labels. In: rows by role, or probabilities. Out: what a task is asked for.

Here is what one label per row and several have in common; loss, probabilities and predictions are up to the task.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lft_ray.tasks.base import Description, Floats, Head, Task
from lft_ray.tasks.columns import LABEL, Column, input_columns
from lft_ray.tasks.facts import Facts, LabelFacts
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.label_answers import label_mismatch, largest_change, ranked, scores_by
from lft_ray.tasks.label_metrics import METRIC_NAMES, row_spread
from lft_ray.tasks.labels.checks import check_labels, check_unseen, label_counts, sorted_labels
from lft_ray.tasks.labels.repeats import check_conflicts, report_unlabelled
from lft_ray.tasks.labels.spelling import one_spelling
from lft_ray.tasks.rows import CleanRows, RawTable, Repeats, Values
from lft_ray.texts import Text
from lft_ray.wire import PAIR_TEXTS, LabelScore, Prediction, PredictionKind

if TYPE_CHECKING:
    import torch

__all__ = ["BETWEEN_INPUTS", "Labelled"]

BETWEEN_INPUTS = " \u241f "
"""Stands between the inputs of one row (the symbol for a unit separator): a plain space would make the pairs "a", "b c"
and "a b", "c" one."""


class Labelled(ABC):
    """Rows with label names in the role ``label``, and text in every input.

    Args:
        labels: label names, in the order of the head's outputs.
    """

    kind: str
    columns: tuple[Column, ...]
    metric_names: Mapping[str, str] = METRIC_NAMES
    facts_type: type[Facts] = LabelFacts
    head: Head = "vector"
    predicts: PredictionKind = "labels"

    def __init__(self, labels: list[str]) -> None:
        self.labels = list(labels)

    @classmethod
    def allows_empty(cls) -> bool:
        """Return False: every row has a label."""
        return False

    @classmethod
    def learn(cls, train: Values) -> LabelFacts:
        """Return the labels, in numeric order where all are whole numbers, else by name."""
        return LabelFacts(labels=sorted_labels(train))

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """Make the task with the labels that were learned.

        Raises:
            TypeError: these are the facts of another kind of task.
        """
        if not isinstance(facts, LabelFacts):
            raise TypeError(f"{cls.__name__} needs LabelFacts, got {type(facts).__name__}")
        return cls(facts.labels)

    @classmethod
    def identity(cls, values: Values) -> list[str]:
        """Return the text of each row; several inputs are joined by a mark."""
        texts: list[Sequence[str]] = [values[column.role] for column in input_columns(cls.columns)]
        return list(texts[0]) if len(texts) == 1 else [BETWEEN_INPUTS.join(row) for row in zip(*texts, strict=True)]

    @classmethod
    def counts(cls, values: Values) -> dict[str, int]:
        """Return the number of rows of each label, most frequent first."""
        return label_counts(values)

    @classmethod
    def report_missing(cls, table: RawTable, split: str, is_missing: Sequence[bool], findings: Findings) -> None:
        """Report rows without a label."""
        report_unlabelled(table, split, is_missing, findings)

    @classmethod
    def unify(cls, rows: Mapping[str, CleanRows], findings: Findings) -> dict[str, CleanRows]:
        """Give spellings of a label that look the same the most frequent one."""
        return one_spelling(rows, findings)

    @classmethod
    def check(cls, train: CleanRows, *, splits: int, findings: Findings) -> None:
        """Check the labels of the train rows: their number, support, spelling."""
        check_labels(train, splits=splits, allows_empty=cls.allows_empty(), findings=findings)

    @classmethod
    def check_other(cls, train: CleanRows, other: CleanRows, findings: Findings) -> None:
        """Compare the labels of a given split with those of train."""
        check_unseen(train, other, findings)

    @classmethod
    def check_repeats(cls, rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
        """Warn of texts that occur with different labels; return the number of such texts."""
        return check_conflicts(rows, repeats, findings)

    def check_split(self, rows: CleanRows, findings: Findings) -> None:
        """Report labels that train, or a split carved from it, has no row of."""
        name = rows.split
        missing = sorted(set(self.labels) - {label for names in rows.values[LABEL] for label in names})
        if not len(rows) or (missing and name == "train"):
            message = f"no row of {missing[0]!r} is left for {name}" if missing else f"no row is left for {name}"
            findings.error("split_too_small", message, fix="add rows, or raise data.max_rows or the split's share")
        elif missing:
            lacking = f"lacks {len(missing)} of the labels, such as {missing[0]!r}: its macro-F1 leaves them out"
            message = f"the {name} split carved from train {lacking}"
            findings.warning("label_missing_in_split", message, count=len(missing), fix="label more texts of these")

    @property
    def outputs(self) -> int:
        """Number of head outputs: one per label."""
        return len(self.labels)

    @property
    def row_width(self) -> int:
        """Number of outputs: they are what a model says of a text."""
        return self.outputs

    @abstractmethod
    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM of the loss over the texts."""

    def judged_loss(self, targets: NDArray[Any], outputs: Floats) -> float:
        """Return the plain mean of the loss, without class weights."""
        import torch

        # A copy: targets are a read-only memory map, and torch.from_numpy warns about read-only arrays.
        return float(self.loss(torch.from_numpy(outputs), torch.from_numpy(np.array(targets)), None)) / len(targets)

    @classmethod
    def row_spread(cls, metric: str, counts: Mapping[str, int], rows: int) -> float:
        """Return 1 / the number of rows that the metric rests on: macro-F1 on the rarest labels."""
        return row_spread(metric, counts, rows)

    @abstractmethod
    def probabilities(self, logits: Floats) -> Floats:
        """Return a score in 0..1 for each logit, float32 [n, c]."""

    def score_change(self, ours: Floats, theirs: Floats) -> NDArray[np.float64]:
        """Return the largest change of a probability of each row."""
        return largest_change(self.probabilities(ours), self.probabilities(theirs))

    def predictions(
        self, outputs: Floats, inputs: Sequence[Text], *, top_k: int | None = None, function: str | None = None
    ) -> list[Prediction]:
        """Return the labels of each text with their scores, highest first.

        Args:
            outputs: logits, float32 [n, c].
            inputs: the texts; not needed.
            top_k: return only the best k labels of each text; None: all.
            function: ``softmax``, ``sigmoid`` or ``none`` instead of the task's own probabilities.
        """
        del inputs
        rows = self.decode(self.probabilities(outputs) if function is None else scores_by(function, outputs))
        return list(rows) if top_k is None else [scores[:top_k] for scores in rows]

    def decode(self, probabilities: Floats) -> list[list[LabelScore]]:
        """Return all labels of each text with their scores, highest first."""
        return ranked(self.labels, probabilities)

    def bucket(self, prediction: Prediction) -> str:
        """Return the label of the highest score."""
        first = prediction[0]
        assert isinstance(first, LabelScore)
        return first.label

    @property
    def description(self) -> Description:
        """Return that its models classify texts, or pairs of texts."""
        count, pairs = len(self.labels), len(input_columns(self.columns)) == PAIR_TEXTS
        labels = f"{count} label{'' if count == 1 else 's'}"
        what = "pair" if pairs else "text"
        return Description(
            noun=f"Text classifier ({self.kind}) with {labels}",
            pipeline_tag="text-classification",
            metrics=["f1", "accuracy"],
            outputs=f"probabilities of {count} labels",
            example='{"text": "a first text", "text_pair": "a second text"}' if pairs else '"some text"',
            response=(
                f"The response is in Hugging Face's text-classification format: for each {what} a list of labels with "
                "scores, best first."
            ),
        )

    def mismatch(self, other: Task) -> str:
        """Return which labels are missing and added; empty if both tasks have the same."""
        return label_mismatch(self.labels, other.labels)
