"""Tables that a task adds to report and card: scores by name, counts of one name against another. Pure values."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lft_ray.records.base import Record

__all__ = ["Panel", "PanelColumn", "confusion_panel", "former_panels", "label_panel"]


class PanelColumn(Record):
    """One column of a panel."""

    name: str
    kind: Literal["text", "score", "count"] = "text"
    """score: a fraction of 1, shown with three digits. count: a whole number."""


class Panel(Record):
    """A table about the predictions of the shipped checkpoint, as the task sees them."""

    title: str
    caption: str = ""
    columns: list[PanelColumn]
    rows: list[list[str | int | float]] = Field(default_factory=list)
    """Cells in the order of ``columns``; the first is the name of the row."""
    is_matrix: bool = False
    """Counts of the rows' names against the columns' names: each cell is shaded by its fraction of the row."""

    @model_validator(mode="after")
    def _check_cells(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {self.title!r} has {len(row)} cells, expected {len(self.columns)}")
            for column, cell in zip(self.columns, row, strict=True):
                if isinstance(cell, str) != (column.kind == "text"):
                    raise ValueError(f"{self.title!r} has {cell!r} in its column {column.name!r} of kind {column.kind}")
        return self


def label_panel(rows: Sequence[tuple[str, float, float, float, int]]) -> Panel:
    """Label, precision, recall, F1 and rows of each label."""
    scores = [PanelColumn(name=name, kind="score") for name in ("Precision", "Recall", "F1")]
    columns = [PanelColumn(name="Label"), *scores, PanelColumn(name="Rows", kind="count")]
    return Panel(title="Labels", columns=columns, rows=[list(row) for row in rows])


def confusion_panel(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Panel:
    """Counts [c][c] of each true label against each predicted one."""
    columns = [PanelColumn(name=""), *(PanelColumn(name=label, kind="count") for label in labels)]
    rows: list[list[str | int | float]] = [[label, *row] for label, row in zip(labels, counts, strict=True)]
    caption = "Rows: true label. Columns: predicted label. Shading: fraction of the row."
    return Panel(title="Confusion matrix", caption=caption, columns=columns, rows=rows, is_matrix=True)


def former_panels(values: Mapping[str, Any]) -> list[Panel]:
    """Panels of a selection written by 0.2.0 or earlier, which knew labels alone: per_label and confusion.

    Raises:
        ValueError: the values are not those tables.
    """
    scores, counts = values.get("per_label") or [], values.get("confusion") or []
    rows = [_former_row(number, row) for number, row in enumerate(scores)]
    is_square = len(counts) == len(rows) > 0 and all(len(row) == len(rows) for row in counts)
    panels = [label_panel(rows)] if rows else []
    return [*panels, confusion_panel([row[0] for row in rows], counts)] if is_square else panels


def _former_row(number: int, row: Any) -> tuple[str, float, float, float, int]:
    values = row if isinstance(row, dict) else {}
    for key in ("label", "precision", "recall", "f1", "support"):
        if key not in values:
            raise ValueError(f"per_label.{number}: {key} is missing")
        if key != "label" and not isinstance(values[key], int | float):
            raise ValueError(f"per_label.{number}: {key} is {values[key]!r}, which is no number")
    return str(values["label"]), values["precision"], values["recall"], values["f1"], values["support"]
