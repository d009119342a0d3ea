"""The task protocol. Pure values in and out; torch is imported only inside the losses.

Shapes: n rows, c outputs of the head, k numbers that describe what a model says of one row. These are the outputs of
the head themselves where the head reads a whole text, and a summary of them where it reads tokens. Targets are a single
numpy array whose first axis is the rows, so that they can be stored in Arrow and sent between processes: of numbers, or
of objects that JSON can hold.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lft_ray.records import Record
from lft_ray.records.panels import Panel
from lft_ray.tasks.columns import Column
from lft_ray.tasks.facts import Facts
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.judging import Answers, RowScores, WeightedMetric
from lft_ray.tasks.rows import CleanRows, RawTable, Repeats, Values
from lft_ray.texts import Text
from lft_ray.wire import LabelScore, Prediction, PredictionKind

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

__all__ = [
    "AnsweringTask",
    "Column",
    "ConfidentTask",
    "Description",
    "Facts",
    "Head",
    "LabelTask",
    "Task",
    "Values",
    "longest_answer_of",
]

Floats = NDArray[np.float32]
Head = Literal["vector", "tokens"]
"""What the head of a network reads: one vector for each text, or the states of its tokens."""


class Description(Record):
    """What models of a task are to people who do not know it, for the model card and the bill of materials."""

    noun: str
    """Such as ``Text classifier (multilabel) with 3 labels``."""
    pipeline_tag: str
    """Name of the task on the Hugging Face hub."""
    metrics: list[str]
    """Names of its metrics there."""
    outputs: str
    """Such as ``probabilities of 3 labels``."""
    example: str
    """An input as JSON, as ``POST /`` takes it."""
    response: str
    """What ``POST /`` returns, in one sentence."""


class Task(Protocol):
    """Protocol of a task. An instance is made by `of`, with what was learned from the train rows.

    The verbs of the data stage take `Values`, the columns of n rows by role, or `CleanRows` and `RawTable` where they
    report file and row of a problem; they never change the rows they are given.
    """

    kind: str
    facts_type: type[Facts]
    """Class of what `learn` returns."""
    head: Head
    predicts: PredictionKind
    """What its predictions consist of; the endpoint's formats go by it."""
    labels: list[str]
    """Names of the outputs; empty where they have none."""
    columns: tuple[Column, ...]
    """What a file must have; the experiment names a column, or its usual names are tried."""
    metric_names: Mapping[str, str]
    """Key of each metric -> the name it is printed with; the first is the default."""

    is_exclusive: bool
    """Whether a row has exactly one label, so that the outputs compete, and not any number of them."""

    @classmethod
    def read_targets(cls, column: "pa.Array") -> list[list[str]]:
        """Parse a raw column of kind ``names`` into a list of names per row (one name for classification).

        A row without a label gives an empty list; the data check decides whether that is an error.
        """

    @classmethod
    def allows_empty(cls) -> bool:
        """Whether a row without truth is a valid example (multilabel: yes). With several truth columns, any counts."""

    @classmethod
    def learn(cls, train: Values) -> Facts:
        """Return what the task needs to know of the train rows, such as the label list."""

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """Make the task with what `learn` returned."""

    @classmethod
    def identity(cls, values: Values) -> list[str]:
        """What makes two rows the same example, [n]: repeats, overlap between splits, and the split of a row go by it.

        Case, spacing and Unicode form are evened out afterwards. Its words are also the length of a row for the data
        card and the cost forecast, so it holds the whole input.
        """

    @classmethod
    def counts(cls, values: Values) -> dict[str, int]:
        """Rows of each group that the data card and the report list, in their order; for labels, rows of each label."""

    @classmethod
    def report_missing(cls, table: RawTable, split: str, is_missing: Sequence[bool], findings: Findings) -> None:
        """Report rows with inputs and without truth; they are dropped. Never called where `allows_empty`.

        Args:
            table: rows as read (n).
            split: name of the split.
            is_missing: which rows these are [n]; there may be none.
            findings: collects an error where they are too many to be dropped, else a warning.
        """

    @classmethod
    def unify(cls, rows: Mapping[str, CleanRows], findings: Findings) -> dict[str, CleanRows]:
        """Return the rows with truths that mean the same written the same, across splits (train first)."""

    @classmethod
    def check(cls, train: CleanRows, *, splits: int, findings: Findings) -> None:
        """Check the truth of all train rows, before validation and test are carved from them.

        Args:
            train: all train rows; at least one.
            splits: number of splits they will be divided into, train included.
            findings: collects errors and warnings.
        """

    @classmethod
    def check_other(cls, train: CleanRows, other: CleanRows, findings: Findings) -> None:
        """Compare the truth of a split that was given as a file with train."""

    @classmethod
    def check_repeats(cls, rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
        """Warn of equal inputs with different truth; return the number of such inputs, each counted once."""

    def check_split(self, rows: CleanRows, findings: Findings) -> None:
        """Check a split as it will be used: train, after sampling and carving, or one that was carved from it."""

    def encode(self, values: Values) -> NDArray[Any]:
        """Convert the truth to targets: int64 [n] for one label per text, float32 [n, c] of 0 and 1 for several.

        Of other tasks, an object array [n] of dictionaries.
        """

    def strata(self, values: Values) -> list[str]:
        """Stratum of each row [n], by which splits are stratified."""

    @property
    def outputs(self) -> int:
        """Number of head outputs c."""

    @property
    def row_width(self) -> int:
        """Numbers k that describe what a model says of one row."""

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """SUM of the loss over the texts (the training loop divides by the number of texts in the global step).

        Args:
            logits: float [n, c]; where the head reads tokens [n, t, c].
            targets: output of ``encode`` as a tensor; where the head reads tokens, positions [n, c] in the sequence.
            weights: float [c] class weights, or None.
        """

    def judged_loss(self, targets: NDArray[Any], outputs: Floats) -> float:
        """Mean loss of n rows [n, k], as the learning curve shows it; smaller is better."""

    def distill_loss(self, logits: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
        """SUM over the texts of the divergence from a teacher's predictions, times the temperature squared.

        The square keeps the gradient on the scale of ``loss`` at any temperature (Hinton et al. 2015,
        arXiv:1503.02531). Loss and gradient are zero where the logits equal the teacher's.

        Args:
            logits: float [n, c].
            teacher: logits of the teacher, float [n, c].
            temperature: divisor of both logits.
        """

    @classmethod
    def row_spread(cls, metric: str, counts: Mapping[str, int], rows: int) -> float:
        """1 / the number of rows that the metric effectively rests on: its variance is F1 x (1 - F1) times this.

        Args:
            metric: one of ``metric_names``.
            counts: rows of each group that the data card counts, such as each label; empty: not known.
            rows: number of rows.
        """

    def units(self, targets: NDArray[Any], weights: Floats | None) -> float:
        """What the sum of ``loss`` over these rows is divided by to be a mean.

        Args:
            targets: output of ``encode``.
            weights: class weights [c], or None.
        """

    def class_weights(self, targets: NDArray[Any]) -> Floats:
        """Balanced class weights [c], inversely proportional to frequency, mean 1 over the rows."""

    def metrics(self, targets: NDArray[Any], logits: Floats) -> dict[str, float]:
        """All metrics of ``metric_names``, of n rows [n, k]."""

    def answers(self, outputs: Floats) -> Answers:
        """Predictions of n rows from outputs [n, k]. Their first axis is the rows; only the task reads them."""

    def row_scores(self, targets: NDArray[Any], answers: Answers) -> RowScores:
        """What the metrics need to know of each row, [n, k]: enough to compute them under any weights of the rows."""

    def weighted_metric(self, metric: str, runs: Sequence[RowScores]) -> WeightedMetric:
        """Prepare a metric for row scores of several runs on the same rows.

        Under equal weights it is that of ``metrics``.

        Raises:
            ValueError: the metric is unknown.
        """

    def row_strata(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Stratum of each row, int64 [n] from 0: a bootstrap draws the rows of each stratum from that stratum."""

    def same(self, ours: Answers, theirs: Answers) -> NDArray[np.bool_]:
        """Whether two predictions of each row are the same for a user, bool [n]."""

    def score_change(self, ours: Floats, theirs: Floats) -> NDArray[np.float64]:
        """Largest change of any score that a user sees between two head outputs of each row, float64 [n]."""

    def bucket(self, prediction: Prediction) -> str:
        """Coarse kind of a prediction as the endpoint returns it: drift is a change of how often each kind occurs."""

    @property
    def description(self) -> Description:
        """What its models are to people."""

    def mismatch(self, other: "Task") -> str:
        """Why models of this task cannot replace models of ``other``, of the same kind, in words; empty if they can."""

    def predictions(
        self, outputs: Floats, inputs: Sequence[Text], *, top_k: int | None = None, function: str | None = None
    ) -> list[Prediction]:
        """What the endpoint returns for n rows, each with its most probable part first.

        Args:
            outputs: float32 [n, k].
            inputs: what the model read, [n].
            top_k: number of parts of each prediction; None: as many as the task gives unless it is asked.
            function: ``softmax``, ``sigmoid`` or ``none`` instead of the task's own probabilities.
        """

    def answer_table(self, outputs: Floats, blank: NDArray[np.bool_], inputs: Sequence[Text]) -> "pa.Table":
        """Predictions of n rows as columns of a file; rows that are ``blank`` have none (null)."""

    def panels(self, targets: NDArray[Any], answers: Answers) -> list[Panel]:
        """Tables for report and card: where the predictions of these rows are right, and where not."""


@runtime_checkable
class LabelTask(Task, Protocol):
    """A task whose outputs are labels."""

    def probabilities(self, logits: Floats) -> Floats:
        """Convert logits [n, c] to scores [n, c] in 0..1, as the endpoint returns them."""

    def decode(self, probabilities: Floats) -> list[list[LabelScore]]:
        """All labels of each text with their scores, highest first, as the endpoint returns them."""

    def chosen(self, probabilities: Floats) -> list[list[str]]:
        """Predicted label names of each text."""


@runtime_checkable
class AnsweringTask(Protocol):
    """What a task offers that answers with a piece of its second input."""

    @property
    def longest_answer(self) -> int:
        """Maximum tokens of an answer."""


def longest_answer_of(task: Task) -> int:
    """Return the maximum tokens of an answer; 0 for tasks that do not answer with a piece of a text."""
    return task.longest_answer if isinstance(task, AnsweringTask) else 0


@runtime_checkable
class ConfidentTask(Protocol):
    """What a task offers whose predictions have one confidence each; without it there is no cascade of two models."""

    def fit_temperature(self, outputs: Floats, targets: NDArray[Any]) -> float:
        """Divisor of the head outputs [n, c] with which their confidence is right on these rows."""

    def confidence(self, outputs: Floats, temperature: float) -> NDArray[np.float64]:
        """How sure the prediction of each row is, float64 [n] in 0..1."""
