"""Recognise JSON files that hold a data set in another shape than one object per row.

In: a file. Out: what its shape is, and how to make rows of it. Never guesses rows.
"""

import json
from contextlib import suppress
from typing import Any

from lft_ray.data.readers.context import ReadContext
from lft_ray.tasks.columns import input_columns

__all__ = ["other_shape", "shape_of"]

_RECORDS = "write rows: pandas.read_json(...).to_json(FILE, orient='records', lines=True)"


def other_shape(context: ReadContext) -> tuple[str, str] | None:
    """Say what a file of JSON objects holds instead of one object per line: message and fix; None for rows.

    Args:
        context: a file whose text starts with a brace.
    """
    with suppress(UnicodeError, ValueError, RecursionError), context.text() as stream:
        first = ""
        while not first.strip(" \t\r\n\ufeff") and (line := stream.readline()):
            first = line
        first = first.lstrip("\ufeff")
        try:
            value, is_whole = json.loads(first), not stream.read(1_000).strip()
        except ValueError:
            text = (first + stream.read()).strip()
            # Not one object on the first line, but one that spans lines.
            value, end = json.JSONDecoder().raw_decode(text)
            rest = text[end:].lstrip()
            if rest.startswith("{"):
                return "each object spans several lines, expected one object per line", "jq -c . FILE > rows.jsonl"
            is_whole = not rest
        if is_whole and isinstance(value, dict) and not _has_inputs(value, context):
            return shape_of(value)
    return None


def _has_inputs(value: dict[str, Any], context: ReadContext) -> bool:
    """Whether an object has a text under the name of every input: then it is a row, also with lists of objects."""
    wanted = context.wanted
    names = [(wanted.given.get(column.role),) if wanted.given.get(column.role) else column.names
             for column in input_columns(wanted.columns)]  # fmt: skip
    return bool(names) and all(any(isinstance(value.get(name or ""), str) for name in tried) for tried in names)


def shape_of(value: dict[str, Any]) -> tuple[str, str] | None:
    """Say how one object holds a whole data set: message and fix; None for an object that may be a row."""
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return "the file is one object with columns and data (pandas' orient='split')", _RECORDS
    for key, items in value.items():
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            message = f"the file is one object, and its rows are in the list at key {key!r}"
            return message, f"write the rows alone: jq -c '.[{json.dumps(key)}][]' FILE > rows.jsonl"
    for kind in (dict, list):
        columns = [len(items) for items in value.values() if isinstance(items, kind)]
        if columns and len(columns) == len(value) and len(set(columns)) == 1 and columns[0] > 0:
            return f"the file is one object with {len(columns)} columns of {columns[0]:,} values", _RECORDS
    return None
