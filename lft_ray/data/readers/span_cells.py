"""Columns of answers that are pieces of a context. In: cells of a file. Out: one list of answers per row.

An answer is its text and, where the file says it, the character at which it begins. Read are the shapes in which
question answering data are passed on: a text; a list of texts; objects with ``text`` and ``answer_start`` or ``start``;
one object with a list of each. An empty cell or list says that there is no answer.
"""

import json
from typing import Any

import pyarrow as pa

from lft_ray.data.readers.json_values import JsonCells, Refused, kind_name
from lft_ray.data.readers.table import Cells, FileColumns
from lft_ray.data.readers.text_cells import is_text
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import Column
from lft_ray.tasks.findings import FileFindings
from lft_ray.texts import is_blank, repaired, shown

__all__ = ["SpansKind", "UnreadableAnswersError", "parsed_answers", "read_answers"]

_STARTS = ("answer_start", "start", "answer_starts", "starts")
_TEXTS = ("text", "answer", "texts", "answers")
_FIX = 'write texts, or objects such as {"text": "in 1066", "answer_start": 17}'


class UnreadableAnswersError(Exception):
    """A value that holds no answers."""


class SpansKind:
    """Answers of each row; see `lft_ray.data.readers.kinds.Kind`."""

    def from_strings(self, cells: list[str]) -> Cells:
        """Return the cells; those that hold JSON are read as such."""
        return [parsed_answers(cell) for cell in cells]

    def json_cells(self, wanted: Column) -> JsonCells:
        """Start to collect values."""
        return _JsonAnswers(wanted.role)

    def from_arrow(
        self, wanted: Column, cells: pa.Array, class_names: list[str] | None, findings: FileFindings, option: str
    ) -> Cells | None:
        """Return the values of a column of strings, lists or structs."""
        del class_names
        kind = cells.type
        if not (is_text(kind) or pa.types.is_nested(kind) or pa.types.is_null(kind)):
            message = f"the {wanted.role} column holds {kind}, expected texts, lists or structs"
            findings.error("answer_type", message, row=1, fix=f"name another column with {option}NAME")
            return None
        values = cells.to_pylist()
        return [parsed_answers(value) if isinstance(value, str) else value for value in values]

    def rows(
        self, wanted: Column, part: FileColumns, task: type[Task], findings: FileFindings
    ) -> tuple[list[Any] | None, str]:
        """Return the answers of each row; None after an error was added."""
        del task
        rows: list[list[tuple[str, int | None]]] = []
        bad: list[tuple[int, str]] = []
        for number, value in zip(part.row_numbers.tolist(), part.values[wanted.role], strict=True):
            try:
                rows.append(read_answers(value))
            except UnreadableAnswersError as error:
                bad.append((number, f"the {wanted.role} cannot be read: {error}"))
                rows.append([])
        if bad:
            findings.error_rows("answer_type", bad, summary=f"the {wanted.role} cannot be read", fix=_FIX)
            return None, ""
        return rows, ""

    def missing(self) -> list[Any]:
        """Return no answer."""
        return []

    def is_blank(self, value: Any) -> bool:
        """Return False: a row without an answer says that there is none."""
        del value
        return False

    def stored(self, values: list[Any]) -> pa.Array:
        """Return a column of lists of structs."""
        kind = pa.list_(pa.struct({"text": pa.large_string(), "start": pa.int64()}))
        return pa.array([[{"text": text, "start": start} for text, start in given] for given in values], kind)


def read_answers(value: Any) -> list[tuple[str, int | None]]:
    """Read the answers of one row: texts, each with its first character or None.

    Raises:
        UnreadableAnswersError: the value holds no answers.
    """
    if value is None or (isinstance(value, str) and is_blank(value)):
        return []
    if isinstance(value, str):
        return [(repaired(value), None)]
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, list):
        return [answer for one in value for answer in _of_item(one)]
    raise UnreadableAnswersError(f"it is {kind_name(value)}")


def _of_item(value: Any) -> list[tuple[str, int | None]]:
    if isinstance(value, str):
        return [(repaired(value), None)]
    if isinstance(value, dict):
        return _of_object(value)
    raise UnreadableAnswersError(f"its list holds {kind_name(value)}")


def _of_object(value: dict[str, Any]) -> list[tuple[str, int | None]]:
    texts = next((value[name] for name in _TEXTS if name in value), None)
    starts = next((value[name] for name in _STARTS if name in value), None)
    if texts is None:
        raise UnreadableAnswersError(f"an object has no text: {', '.join(map(shown, value)) or 'it is empty'}")
    if isinstance(texts, str):
        texts, starts = [texts], [starts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnreadableAnswersError("the text of an object is no text")
    starts = [None] * len(texts) if starts is None else starts
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise UnreadableAnswersError(f"an object has {len(texts)} texts and another number of places")
    if not all(start is None or (isinstance(start, int) and not isinstance(start, bool)) for start in starts):
        raise UnreadableAnswersError("the place of an answer is no whole number")
    return [(repaired(text), start) for text, start in zip(texts, starts, strict=True)]


def parsed_answers(cell: str | None) -> Any:
    """A cell with JSON as what it holds, or with a list or object as Python writes it; any other as it is."""
    text = (cell or "").strip()
    if text[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(text)
    except ValueError:
        return cell


class _JsonAnswers:
    def __init__(self, role: str) -> None:
        self.role = role
        self.values: list[Any] = []

    def check(self, number: int, value: Any) -> Refused | None:
        del number
        try:
            read_answers(value)
        except UnreadableAnswersError as error:
            message = f"the {self.role} cannot be read: {error}"
            return Refused("answer_type", message, f"the {self.role} cannot be read", _FIX)
        return None

    def add(self, value: Any) -> None:
        self.values.append(value)

    def cells(self, findings: FileFindings) -> Cells:
        del findings
        return self.values
