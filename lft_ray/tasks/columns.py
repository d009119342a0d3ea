"""The columns that a task reads. In: nothing. Out: `Column`, and those that several tasks have. Never reads a file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["LABEL", "TEXT", "TEXT_NAMES", "Column", "ColumnKind", "column_key", "input_columns", "truth_columns"]

LABEL = "label"
"""Role of the column with the names of the labels."""

TEXT_NAMES = (
    "text", "sentence", "content", "review", "body", "headline", "title", "question", "comment", "tweet", "message",
    "utterance", "document", "description", "query", "abstract", "post", "statement", "input", "prompt",
)  # fmt: skip
"""Column names tried for the text when the experiment file does not name one, in order of preference."""

ColumnKind = Literal["text", "names", "spans"]
"""What the cells of a column hold: one text, names of labels, or answers with their place. `lft_ray.data.readers.kinds`
reads each kind."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a file must have for a task."""

    role: str
    """What the column is to the task, such as ``text`` or ``label``: its key wherever values are kept by role."""
    names: tuple[str, ...]
    """Column names tried when the experiment does not name one, in order of preference."""
    kind: ColumnKind
    of: Literal["input", "truth"]
    """Whether a model sees it, or is trained and judged by it; a file that is only to be answered has no truth."""


TEXT = Column("text", TEXT_NAMES, "text", "input")
"""The one input of tasks on single texts."""


def column_key(role: str) -> str:
    """Return the key of the experiment file that names the column of a role."""
    return f"task.{role}" if role in (TEXT.role, LABEL) else f"task.columns.{role}"


def input_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns that a model sees, in order."""
    return tuple(column for column in columns if column.of == "input")


def truth_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns that a model is trained and judged by, in order."""
    return tuple(column for column in columns if column.of == "truth")
