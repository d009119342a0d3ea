"""What pydantic found wrong, in our words. In: a `ValidationError`. Out: one problem a field, or one line.

Imports pydantic for type checkers alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["FieldProblem", "field_problems", "first_problem"]


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with a value.

    Attributes:
        location: keys and positions down to the value; empty: the value as a whole.
        kind: pydantic's name of the problem, such as ``missing`` or ``string_type``.
        message: what is wrong with it.
        given: the value.
    """

    location: tuple[int | str, ...]
    kind: str
    message: str
    given: Any

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.location)
        return f"{where}: {self.message}" if where else self.message


def field_problems(error: "ValidationError") -> list[FieldProblem]:
    """Every problem, in the order of the fields."""
    return [
        # Pydantic puts "Value error, " before what a validator of our own says.
        FieldProblem(item["loc"], item["type"], item["msg"].removeprefix("Value error, "), item["input"])
        for item in error.errors(include_url=False)
    ]


def first_problem(error: "ValidationError") -> str:
    """The first problem in one line: ``labels.0: Input should be a valid string``."""
    return str(field_problems(error)[0])
