"""Every error a user can meet, with its exit code. Imports nothing of the package.

LftError
|-- InputError        exit 2   a file, value or command the user gave
|   |-- ConfigError            the experiment file or --set
|   |-- DataError              rows, columns, labels
|   |-- ModelError             a base model that can't be found or used
|   `-- BundleError            a bundle that is damaged or foreign
|-- NoWinnerError     exit 3   the search ended without a model that may be shipped
`-- UnreachableError  exit 4   a cluster, endpoint or hub that does not answer
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "BundleError", "ConfigError", "DataError", "FieldProblem", "InputError", "LftError", "LftWarning",
    "ModelError", "NoWinnerError", "UnreachableError", "field_problems", "first_line", "first_problem", "nearest",
]  # fmt: skip


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


class LftWarning(UserWarning):
    """Something worth telling, after which the work goes on."""


class LftError(Exception):
    """Base of all errors that carry a message for the user: what, got, allowed, fix.

    Attributes:
        fix: the next thing to type or change, or an empty string.
        exit_code: what the ``lft`` command exits with.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default pickling, and errors cross Ray processes.
        return (_rebuild, (type(self), self.message, self.fix))


class InputError(LftError):
    """The user gave something that cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """The experiment file or an override is wrong."""


class DataError(InputError):
    """The labelled data cannot be used as it is."""


class ModelError(InputError):
    """A base model cannot be found, or not be used."""


class BundleError(InputError):
    """A bundle is damaged, foreign or of another version."""


class NoWinnerError(LftError):
    """No finished trial satisfies the selection policy."""

    exit_code = 3


class UnreachableError(LftError):
    """A cluster, an endpoint or a hub does not answer."""

    exit_code = 4


def nearest(got: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed name, or an empty string."""
    close: Sequence[str] = difflib.get_close_matches(got, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """First line of an error that says something, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _rebuild(kind: type[LftError], message: str, fix: str) -> LftError:
    return kind(message, fix=fix)
