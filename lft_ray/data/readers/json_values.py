"""Values of JSON rows, one column at a time. In: parsed values. Out: `JsonCells`, `Refused`. Never parses JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lft_ray.data.readers.table import Cells
from lft_ray.strict_json import NotFinite
from lft_ray.tasks.findings import FileFindings

__all__ = ["JsonCells", "Refused", "kind_name"]

_NAMES: Mapping[type, str] = {
    str: "a string", int: "an integer", float: "a number", bool: "true or false", type(None): "null", list: "a list",
    NotFinite: "NaN",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a value cannot be read.

    Attributes:
        code: stable name of the problem.
        message: what is wrong with this value.
        summary: what values with this problem have in common.
        fix: how to fix them.
    """

    code: str
    message: str
    summary: str
    fix: str


class JsonCells(Protocol):
    """Collects the values of one column, row by row."""

    def check(self, number: int, value: Any) -> Refused | None:
        """Look at the value of a row; the row is left out if any of its values is refused.

        Args:
            number: line number of the row.
            value: as JSON has it; `NotFinite` and `RepeatedKeys` stand for what JSON forbids.
        """

    def add(self, value: Any) -> None:
        """Take a value that `check` accepted."""

    def cells(self, findings: FileFindings) -> Cells:
        """Return all values taken, and report what only all of them show."""


def kind_name(value: Any) -> str:
    """Return what a JSON value is, for messages."""
    return _NAMES.get(type(value), "an object")
