"""Errors that carry a message for the user, with their exit codes, and helpers that word them.

In: messages, pydantic validation errors, other exceptions. Out: `LftError` subclasses and one-line texts. Never imports
another module of the package.

LftError
|-- InputError        exit 2   a file, value or command of the user is invalid
|   |-- ConfigError            the experiment file or --set
|   |-- DataError              rows, columns, labels
|   |-- ModelError             a base model that cannot be found or used
|   |-- BundleError            a bundle that is damaged or of another format
|   |-- DamagedFileError       a file of a run that is unreadable, or not what its record says
|   |-- RunGoneError           a run folder that was removed or unmounted while it was in use
|   `-- StorageError           a disk that is full, read-only or fails, or has too little room for the run
|-- NoWinnerError     exit 3   no finished trial satisfies the selection policy
|-- UnreachableError  exit 4   a cluster, endpoint, bucket or hub that cannot be reached
`-- TrialsFailedError exit 5   most trials failed: a winner may be written, but it was chosen from what was left
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "BundleError", "ConfigError", "DamagedFileError", "DataError", "FieldProblem", "InputError", "LftError",
    "LftWarning", "ModelError", "NoWinnerError", "RunGoneError", "StorageError", "TrialsFailedError",
    "UnreachableError", "field_problems",
    "first_line", "first_problem", "nearest",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One validation problem of a value.

    Attributes:
        location: keys and indices that lead to the value; empty: the value as a whole.
        kind: pydantic's error type, such as ``missing`` or ``string_type``.
        message: description of the problem.
        given: the invalid value.
    """

    location: tuple[int | str, ...]
    kind: str
    message: str
    given: Any

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.location)
        return f"{where}: {self.message}" if where else self.message


def field_problems(error: "ValidationError") -> list[FieldProblem]:
    """List all problems of a validation error, in the order of the fields."""
    return [
        # Pydantic prefixes the messages of custom validators with "Value error, ".
        FieldProblem(item["loc"], item["type"], item["msg"].removeprefix("Value error, "), item["input"])
        for item in error.errors(include_url=False)
    ]


def first_problem(error: "ValidationError") -> str:
    """Return the first problem as one line: ``labels.0: Input should be a valid string``."""
    return str(field_problems(error)[0])


class LftWarning(UserWarning):
    """A problem that the user should know about, but that does not stop the work."""


class LftError(Exception):
    """Base of all errors with a message for the user: what is wrong, what was given, what is allowed, and a fix.

    Attributes:
        message: the text without the fix.
        fix: what to type or change next, or an empty string.
        exit_code: exit code of the ``lft`` command.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Default pickling loses keyword-only arguments, and errors are passed between Ray processes.
        return (_rebuild, (type(self), self.message, self.fix))


class InputError(LftError):
    """A file, value or command of the user is invalid."""

    exit_code = 2


class ConfigError(InputError):
    """The experiment file or an override is invalid."""


class DataError(InputError):
    """The labelled data has errors."""


class ModelError(InputError):
    """A base model cannot be found or used."""


class BundleError(InputError):
    """A bundle is damaged, or of another format or version."""


class DamagedFileError(InputError):
    """A file of a run cannot be read, or is not the file that its record describes."""


class RunGoneError(InputError):
    """The run folder was removed or unmounted while it was in use."""


class StorageError(InputError):
    """A disk is full, cannot be written or fails, or has too little room for what the run will write."""


class NoWinnerError(LftError):
    """No finished trial satisfies the selection policy."""

    exit_code = 3


class UnreachableError(LftError):
    """A cluster, an endpoint, a bucket or a hub cannot be reached, or died."""

    exit_code = 4


class TrialsFailedError(LftError):
    """Most trials of a search failed. Its winner, if any, is written and shown: it was chosen from what was left."""

    exit_code = 5


def nearest(got: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed name, or an empty string."""
    close: Sequence[str] = difflib.get_close_matches(got, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error's message, or the name of its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _rebuild(kind: type[LftError], message: str, fix: str) -> LftError:
    return kind(message, fix=fix)
