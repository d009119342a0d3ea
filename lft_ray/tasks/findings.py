"""Collect the problems that the data check finds. In: single findings. Out: a list, or one DataError naming them all.

Each code lists at most `LISTED_ROWS` rows of a file and counts the others. Never reads files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.errors import DataError
from lft_ray.records import Problem

__all__ = ["FileFindings", "Findings", "RowFinding", "raise_on_errors"]

LISTED_ROWS = 3
"""Bad rows listed one by one for each problem code; the others are only counted."""

RowFinding = tuple[str, int, str]
"""File, row number and message."""


class Findings:
    """A growing list of problems. Checks continue after an error, so that all problems are reported at once."""

    def __init__(self, problems: Sequence[Problem] = ()) -> None:
        self._problems = list(problems)

    @property
    def problems(self) -> list[Problem]:
        """All problems: errors first, then warnings, each in the order found."""
        return sorted(self._problems, key=lambda problem: problem.severity != "error")

    @property
    def has_errors(self) -> bool:
        """Whether any problem found so far stops the run."""
        return any(problem.severity == "error" for problem in self._problems)

    def extend(self, problems: Sequence[Problem]) -> None:
        """Append the problems of another list."""
        self._problems.extend(problems)

    def error(self, code: str, message: str, *, file: str = "", row: int | None = None, fix: str = "") -> None:
        """Add one error."""
        self._problems.append(
            Problem(severity="error", code=code, message=message, file=file, row=row, count=1, fix=fix)
        )

    def error_rows(self, code: str, rows: Sequence[RowFinding], *, summary: str, fix: str = "", more: int = 0) -> None:
        """Add an error for each of the first few rows, and one error that counts the others.

        Args:
            code: stable name of the problem.
            rows: bad rows, in order; all of them, or the first few.
            summary: what the rows have in common, for the error that counts the others.
            fix: how to fix them.
            more: number of bad rows that are not in ``rows``.
        """
        for file, row, message in rows[:LISTED_ROWS]:
            self.error(code, message, file=file, row=row, fix=fix)
        rest = len(rows) - LISTED_ROWS + more if len(rows) > LISTED_ROWS else more
        if rest > 0:
            text = f"{rest:,} more rows: {summary}"
            file = rows[0][0] if rows else ""
            self._problems.append(Problem(severity="error", code=code, message=text, file=file, count=rest, fix=fix))

    def warning(
        self, code: str, message: str, *, at: tuple[str, int | None] = ("", None), count: int = 1, fix: str = ""
    ) -> None:
        """Add one warning; ``at`` is the file and row of its first occurrence."""
        self._problems.append(
            Problem(severity="warning", code=code, message=message, file=at[0], row=at[1], count=count, fix=fix)
        )

    def of(self, file: str) -> "FileFindings":
        """Return a view that adds the problems of one file to this list."""
        return FileFindings(file, self)


@dataclass(frozen=True, slots=True)
class FileFindings:
    """Adds problems of one file to a `Findings` list.

    Attributes:
        file: file name as the user wrote it.
        findings: the list that receives the problems.
    """

    file: str
    findings: Findings

    def error(self, code: str, message: str, *, row: int | None = None, fix: str = "") -> None:
        """Add one error of this file."""
        self.findings.error(code, message, file=self.file, row=row, fix=fix)

    def error_rows(
        self, code: str, rows: Sequence[tuple[int, str]], *, summary: str, fix: str = "", more: int = 0
    ) -> None:
        """Add errors for rows, each a row number and a message; see `Findings.error_rows`."""
        placed = [(self.file, row, message) for row, message in rows]
        self.findings.error_rows(code, placed, summary=summary, fix=fix, more=more)

    def warning(self, code: str, message: str, *, row: int | None = None, count: int = 1, fix: str = "") -> None:
        """Add one warning; ``row`` is the row of its first occurrence."""
        self.findings.warning(code, message, at=(self.file, row), count=count, fix=fix)


def raise_on_errors(problems: Sequence[Problem]) -> None:
    """Raise one error that lists all problems of severity error.

    Raises:
        DataError: there is at least one error; the message gives file, row and fix of each.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    if len(errors) == 1:
        raise DataError(f"{_place(errors[0])}{errors[0].message}", fix=errors[0].fix)
    lines = [f"{len(errors)} problems in the data:"]
    last_fix = ""
    for problem in errors:
        lines.append(f"  {_place(problem)}{problem.message}")
        if problem.fix and problem.fix != last_fix:
            lines.append(f"    fix: {problem.fix}")
        last_fix = problem.fix
    raise DataError("\n".join(lines), fix="fix these, then run lft check again")


def _place(problem: Problem) -> str:
    if not problem.file:
        return ""
    return f"{problem.file}: " if problem.row is None else f"{problem.file}:{problem.row}: "
