"""Tables of the task, as the report shows them. In: `Panel` records. Out: cells with what the template shades."""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.records.panels import Panel, PanelColumn

__all__ = ["Cell", "PanelView", "panel_views"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        value: what is shown.
        kind: text, score or count, as of its column.
        share: fraction of its row, in a matrix of counts.
        is_last_score: whether it is the last score of its row, beside which a meter is drawn.
    """

    value: str | int | float
    kind: str
    share: float = 0.0
    is_last_score: bool = False


@dataclass(frozen=True, slots=True)
class PanelView:
    """A table with its cells; see `Panel`."""

    title: str
    caption: str
    columns: Sequence[PanelColumn]
    rows: list[list[Cell]]
    is_matrix: bool


def panel_views(panels: Sequence[Panel]) -> list[PanelView]:
    """The tables, matrices with fractions of their rows, so that rare names are as readable as frequent ones."""
    return [
        PanelView(one.title, one.caption, one.columns, [_cells(one, row) for row in one.rows], one.is_matrix)
        for one in panels
    ]


def _cells(panel: Panel, row: Sequence[str | int | float]) -> list[Cell]:
    total = sum(value for value in row if not isinstance(value, str)) if panel.is_matrix else 0.0
    last = max((i for i, column in enumerate(panel.columns) if column.kind == "score"), default=-1)
    return [
        Cell(
            value,
            column.kind,
            share=value / total if total and not isinstance(value, str) else 0.0,
            is_last_score=position == last,
        )
        for position, (column, value) in enumerate(zip(panel.columns, row, strict=True))
    ]
