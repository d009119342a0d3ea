"""Read SQuAD's own JSON: articles with paragraphs with questions. In: a file. Out: rows, one for each question.

Format: ``{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
"answer_start"}], "is_impossible"}]}]}]}``, of versions 1.1 and 2.0 alike.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lft_ray.data.readers.context import ReadContext

__all__ = ["squad_rows"]

Row = dict[str, Any]


def squad_rows(context: ReadContext) -> list[tuple[int, Row]] | None:
    """Number and row of each question, counted from 1; None where the file has another shape."""
    with suppress(UnicodeError, ValueError, RecursionError), context.text() as stream:
        if not _may_be(start := stream.read(65_536)):
            return None
        value = json.loads((start + stream.read()).lstrip("\ufeff"))
        rows = list(_rows(value))
        return list(enumerate(rows, start=1)) or None
    return None


def _may_be(start: str) -> bool:
    """Whether the beginning of a file may be that of one object with paragraphs; large files are not read twice."""
    return start.lstrip("\ufeff \t\r\n").startswith("{") and '"paragraphs"' in start


def _rows(value: Any) -> Iterator[Row]:
    for article in _list(value, "data"):
        title = article.get("title", "")
        for paragraph in _list(article, "paragraphs"):
            for question in _list(paragraph, "qas"):
                impossible = question.get("is_impossible") is True
                yield {
                    "id": str(question.get("id", "")),
                    "title": title,
                    "question": question.get("question"),
                    "context": paragraph.get("context"),
                    "answers": [] if impossible else question.get("answers", []),
                }


def _list(value: Any, key: str) -> list[Row]:
    """The objects in a list at a key.

    Raises:
        ValueError: there are none.
    """
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"no list of objects at {key}")
    return found
