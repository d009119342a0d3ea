"""Read label cells for what they are: names, lists written as text, or vectors of 0 and 1 (an error).

In: the raw label column of a file. Out: the column with lists parsed, or errors that name the rows. Never guesses a
name: a vector says which labels apply, but not what they are called.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.tasks.findings import LISTED_ROWS, FileFindings
from lft_ray.texts import shown

__all__ = ["NameCells", "is_vector", "parse_list", "read_cells"]

_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_BITS = {"0", "1", "-1", "true", "false"}
_BIT = r"(?:[01](?:\.0*)?|true|false)"
_JOINED_BITS = re.compile(rf"^{_BIT}(\s*[\s,;|/]\s*{_BIT})+$", re.IGNORECASE)
_BIT_STRING = re.compile(r"^[01]{3,}$")
_WRAPPED = re.compile(r"^(?:array|frozenset|set|list|tuple)\((.*?)(?:,\s*dtype=[^)]*)?\)$", re.DOTALL)
_ITEM = re.compile(
    r"""\s*(?:[uU]?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|([^,'"\[\]{}()]+))\s*(,|$|(?=['"uU]))""", re.DOTALL
)
"""A quoted or bare item, and what ends it: a comma, the end, or (numpy) the quote of the next item."""
_ENTRY = re.compile(r"""\s*('[^']*'|"[^"]*"|[^'",:]+)\s*:""")
"""A key of a dictionary and its colon."""
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_MISSING = {"none", "nan", "null", "<na>", "nat"}
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_LIST_SHARE = 0.5
"""Share of the cells from which lists are what the column means, and other cells the exception."""


@dataclass(frozen=True, slots=True)
class NameCells:
    """A label column as it was understood.

    Attributes:
        column: names, or lists of names.
        read_as: how the cells were read, where that is not plain.
        is_usable: whether it can be passed on; otherwise errors were added.
    """

    column: pa.Array
    read_as: str = ""
    is_usable: bool = True


def read_cells(column: pa.Array, row_numbers: NDArray[np.int64], *, several: bool, findings: FileFindings) -> NameCells:
    """Return the label column with lists parsed.

    Args:
        column: the raw label column of a file.
        row_numbers: row number of each cell.
        several: whether a row may have several labels.
        findings: collects errors and warnings of the file.
    """
    if pa.types.is_nested(column.type):
        rows = [None if row is None else [_text(item) for item in row] for row in column.to_pylist()]
        holed = [at for at, row in enumerate(column.to_pylist()) if row is not None and None in row]
        if holed:
            row = int(row_numbers[holed[0]])
            told = f"lists of labels with a null: {len(holed):,}; the null is left out"
            findings.warning("null_label", told, row=row, count=len(holed), fix="remove the nulls")
        return NameCells(column, is_usable=not _report_vectors(rows, findings))
    cells = [cell for cell in column.unique().to_pylist() if cell is not None and str(cell).strip()]
    if not cells or not isinstance(cells[0], str):
        return NameCells(column)
    if all(_JOINED_BITS.match(cell.strip()) for cell in cells):
        _vector_error(f"vectors of 0 and 1, such as {shown(cells[0])}", findings)
        return NameCells(column, is_usable=False)
    if len({len(cell.strip()) for cell in cells}) == 1 and all(_BIT_STRING.match(cell.strip()) for cell in cells):
        message = f"labels are strings of 0 and 1 of one length, such as {shown(cells[0])}: vectors of 0 and 1?"
        findings.warning("label_vector", message, fix="write the names of the labels instead")
    found = _Parsed.of(column, row_numbers, cells)
    if found.lists or found.dictionaries or found.broken:
        read = _lists(found, several=several, findings=findings)
        if read is not None:
            return read
    return _broken_into_lines(column, row_numbers, findings) if several else NameCells(column)


def parse_list(cell: str) -> list[str] | dict[str, str] | None:
    """Parse a list that JSON, Python or numpy wrote as text; a dictionary gives its entries, anything else None.

    Raises:
        ValueError: the list has a missing item or a list in it.
    """
    cell = cell.strip()
    if wrapped := _WRAPPED.match(cell):
        cell = wrapped[1].strip() or "[]"
    if len(cell) < 2 or _CLOSING.get(cell[0]) != cell[-1]:
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return _scanned(cell)
    return {str(key): "" for key in value} if isinstance(value, dict) else _names(value)


def is_vector(rows: Iterable[list[str] | None]) -> bool:
    """Whether lists are vectors (one number for each label) rather than lists of names."""
    filled = [row for row in rows if row]
    numbers = {item for row in filled for item in row}
    if not filled or not all(_NUMBER.match(item) or item.casefold() in _BITS for item in numbers):
        return False
    has_repeats = any(len(set(row)) < len(row) for row in filled)
    is_bits = all(item.casefold() in _BITS or _whole(item) in _BITS for item in numbers)
    if len({len(row) for row in filled}) > 1:
        return is_bits and has_repeats
    # A list of names has no item twice, and a name is no fraction.
    is_fraction = any(_whole(item) is None for item in numbers if item.casefold() not in _BITS)
    is_written_as_float = is_bits and any("." in item for item in numbers)
    return is_written_as_float or (len(filled[0]) > 1 and (is_bits or has_repeats or is_fraction))


def _whole(number: str) -> str | None:
    if not _NUMBER.match(number):
        return None
    value = float(number)
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else None


def _text(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item)


def _names(items: list[object]) -> list[str]:
    for item in items:
        if item is None or isinstance(item, list | dict):
            raise ValueError(f"a list with {'null' if item is None else 'a list or an object'} in it")
    return [_text(item) for item in items]


def _scanned(cell: str) -> list[str] | dict[str, str] | None:
    inside = cell[1:-1].strip().removesuffix(",")
    if not inside:
        return {} if cell[0] == "{" else []
    if cell[0] == "{" and _ENTRY.match(inside):
        return {inside.partition(":")[0].strip(): ""}
    bare = inside.split()
    if len(bare) > 1 and all(map(_NUMBER.match, bare)):
        return bare  # numpy separates numbers by spaces
    items: list[str] = []
    at = 0
    while at < len(inside):
        item = _ITEM.match(inside, at)
        if item is None:
            if cell[0] == "(":
                return None
            raise ValueError("a list that cannot be read")
        if item[1]:
            items.append(str(ast.literal_eval(item[1])))
        elif (name := item[2].strip()).casefold() in _MISSING:
            raise ValueError(f"a list with {name} in it")
        elif cell[0] == "(" and len(inside) == len(item[0].strip()):
            return None  # a name in parentheses
        else:
            items.append(name)
        at = item.end()
    return items


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Cells of a column by what they hold."""

    column: pa.Array
    row_numbers: NDArray[np.int64]
    cells: list[str]
    lists: dict[str, list[str]]
    """Cell -> names."""
    dictionaries: dict[str, None]
    broken: dict[str, str]
    """Cell -> why its list cannot be read."""
    counts: Counter[str]

    @classmethod
    def of(cls, column: pa.Array, row_numbers: NDArray[np.int64], cells: list[str]) -> "_Parsed":
        lists: dict[str, list[str]] = {}
        dictionaries: dict[str, None] = {}
        broken: dict[str, str] = {}
        for cell in cells:
            try:
                value = parse_list(cell)
            except (ValueError, SyntaxError) as error:
                broken[cell] = str(error)
                continue
            if isinstance(value, dict):
                dictionaries[cell] = None
            elif value is not None:
                lists[cell] = value
        listlike = lists or dictionaries or broken
        counts = Counter(column.to_pylist()) if listlike else Counter()
        return cls(column, row_numbers, cells, lists, dictionaries, broken, counts)

    def share(self, cells: Iterable[str]) -> float:
        """Share of the filled rows that hold one of some cells."""
        return sum(self.counts[cell] for cell in cells) / sum(self.counts[cell] for cell in self.cells)

    def rows(self, cells: Iterable[str]) -> list[int]:
        """Row numbers of some cells."""
        wanted = set(cells)
        return [int(self.row_numbers[at]) for at, cell in enumerate(self.column.to_pylist()) if cell in wanted]


def _lists(found: _Parsed, *, several: bool, findings: FileFindings) -> NameCells | None:
    """Decide about cells that can be parsed as lists; None: they are names."""
    column = found.column
    listlike = {*found.lists, *found.dictionaries, *found.broken}
    # "[v2]" alone is a name; a comma, a quote or nothing between the brackets makes a list.
    plain = {cell for cell, names in found.lists.items() if len(names) == 1 and not set(",'\"") & set(cell)}
    if not listlike - plain:
        return None
    is_rule = found.share(listlike) > _LIST_SHARE
    if not is_rule and not several:
        first = next(cell for cell in found.cells if cell in listlike - plain)
        message = f"labels such as {shown(first)} look like lists written as text; read as names"
        row = found.rows([first])[0]
        findings.warning("label_list", message, row=row, count=len(found.rows(listlike)), fix="write names alone")
        return None
    if found.dictionaries and (is_rule or several):
        example = next(iter(found.dictionaries))
        message = f"the label column holds dictionaries written as text, such as {shown(example)}"
        fix = "write the names of the labels that apply, separated by commas"
        findings.error("label_dictionary", message, row=found.rows([example])[0], fix=fix)
        return NameCells(column, is_usable=False)
    if _report_vectors(list(found.lists.values()), findings):
        return NameCells(column, is_usable=False)
    example = next(iter(found.lists or found.broken))
    if not several:
        message = f"the label column holds lists written as text, such as {shown(example)}, expected one name per row"
        fix = "--set task.kind=multilabel for several labels per text, or write the name alone, without brackets"
        findings.error("label_list", message, row=found.rows([example])[0], fix=fix)
        return NameCells(column, is_usable=False)
    odd = [cell for cell in found.cells if cell not in found.lists] if is_rule else [*found.lists, *found.broken]
    if odd:
        _report_odd(found, odd, is_rule=is_rule, findings=findings)
        return NameCells(column, is_usable=False)
    rows = [found.lists.get(cell) if cell is not None else None for cell in column.to_pylist()]
    names = found.lists[example]
    read_as = f"label cells are lists written as text: {shown(example)} has the labels {', '.join(map(shown, names))}"
    return NameCells(pa.array(rows, pa.large_list(pa.large_string())), read_as if names else read_as + "none")


def _report_odd(found: _Parsed, odd: list[str], *, is_rule: bool, findings: FileFindings) -> None:
    rows = found.rows(odd)
    cells = dict(zip((int(row) for row in found.row_numbers), found.column.to_pylist(), strict=True))

    def told(row: int) -> str:
        why = found.broken.get(cells[row], "not a list, unlike most" if is_rule else "a list, unlike most")
        return f"the label cell {shown(cells[row])} is {why}"

    findings.error_rows(
        "label_list",
        [(row, told(row)) for row in rows[:LISTED_ROWS]],
        summary="label cells of two forms: lists written as text, and names",
        fix='write all of them as lists, such as ["sun", "rain"], or all as names separated by commas',
        more=max(0, len(rows) - LISTED_ROWS),
    )


def _report_vectors(rows: list[list[str] | None] | list[list[str]], findings: FileFindings) -> bool:
    if not is_vector(rows):
        return False
    example = next(row for row in rows if row)
    listed = ", ".join(example[:8]) + (", ..." if len(example) > 8 else "")
    _vector_error(f"vectors of {len(example)} numbers (one-hot, multi-hot or scores), such as [{listed}]", findings)
    return True


def _vector_error(what: str, findings: FileFindings) -> None:
    findings.error(
        "label_vector",
        f"the label column holds {what}, expected the names of labels",
        fix='write the names of the labels that are 1, such as "sun" or ["sun", "rain"]',
    )


def _broken_into_lines(column: pa.Array, row_numbers: NDArray[np.int64], findings: FileFindings) -> NameCells:
    """Read line breaks between the names of a cell as commas."""
    cells = column.to_pylist()
    broken = [at for at, cell in enumerate(cells) if cell is not None and _BREAKS.search(cell.strip())]
    if not broken:
        return NameCells(column)
    first = broken[0]
    told = f"label cells with line breaks: {len(broken):,}, such as {shown(cells[first])}; read as several labels"
    row = int(row_numbers[first])
    findings.warning("label_line_break", told, row=row, count=len(broken), fix="separate labels by commas")
    joined = [None if cell is None else _BREAKS.sub(",", cell) for cell in cells]
    return NameCells(pa.array(joined, pa.large_string()), "line breaks in label cells separate labels")
