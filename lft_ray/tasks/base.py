"""The contract of a task. Pure values in and out; torch is imported only inside ``loss``.

Shapes: n texts, c head outputs. Targets are one numpy array, so that they can live in Arrow and cross processes.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lft_ray.wire import LabelScore

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

__all__ = ["Task"]

Floats = NDArray[np.float32]


class Task(Protocol):
    """What every task answers. Instances are made with the label list: ``Kind(labels)``."""

    kind: str
    labels: list[str]
    label_names: tuple[str, ...]
    """Column names under which the label is looked for when the file does not name it, best first."""

    def __init__(self, labels: list[str]) -> None: ...

    @classmethod
    def read_targets(cls, column: "pa.Array") -> list[list[str]]:
        """Turn the raw label column into a list of label names a row (one name for classification).

        A row without any label gives an empty list; the data check decides what that means.
        """

    @classmethod
    def allows_empty(cls) -> bool:
        """Whether a row without a label is a valid example (multilabel: yes)."""

    def encode(self, rows: list[list[str]]) -> NDArray[Any]:
        """Label names to targets: int64 [n] for one label, float32 [n, c] of 0 and 1 for several."""

    @property
    def outputs(self) -> int:
        """Head outputs c."""

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """SUM over the texts of the per-text loss (the loop divides by the step's global text count).

        Args:
            logits: float [n, c].
            targets: as ``encode`` makes them, as a tensor.
            weights: float [c] class weights, or None.
        """

    def distill_loss(self, logits: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
        """SUM over the texts of the divergence of the answers from a teacher's, times the temperature squared.

        The square keeps its gradient as large as that of ``loss`` at any temperature (Hinton et al. 2015,
        arXiv:1503.02531). Zero, and so is its gradient, where the logits are the teacher's.

        Args:
            logits: float [n, c].
            teacher: float [n, c], the teacher's logits.
            temperature: both logits are divided by it first.
        """

    def class_weights(self, targets: NDArray[Any]) -> Floats:
        """Balanced weights [c], inversely to frequency, mean 1 over the rows."""

    def probabilities(self, logits: Floats) -> Floats:
        """[n, c] -> [n, c] scores in 0..1 as the endpoint answers them."""

    def metrics(self, targets: NDArray[Any], logits: Floats) -> dict[str, float]:
        """Keys macro_f1, micro_f1, weighted_f1, accuracy (multilabel: share of rows with all labels right)."""

    def per_label(self, targets: NDArray[Any], logits: Floats) -> list[dict[str, Any]]:
        """One dict a label: label, precision, recall, f1, support."""

    def confusion(self, targets: NDArray[Any], logits: Floats) -> list[list[int]]:
        """Counts [c, c], rows = truth, columns = answer; multilabel: an empty list."""

    def decode(self, probabilities: Floats) -> list[list[LabelScore]]:
        """Answers of the endpoint, best first: all labels for classification, all with their score for multilabel."""

    def chosen(self, probabilities: Floats) -> list[list[str]]:
        """Predicted label names a row."""

    def strata(self, rows: list[list[str]]) -> list[str]:
        """A key a row by which splits are stratified."""
