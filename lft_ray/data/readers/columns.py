"""Find the columns of a task by name. In: column names of a file. Out: a position for each role, or an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import combinations

from lft_ray.errors import nearest
from lft_ray.tasks.columns import Column, column_key, input_columns
from lft_ray.tasks.findings import FileFindings

__all__ = ["WantedColumns"]


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """Columns to look for in a file."""

    columns: tuple[Column, ...]
    """What the task needs, in its order."""
    given: Mapping[str, str | None] = field(default_factory=dict)
    """Role -> name of its column; None or absent: its usual names are tried."""
    to_answer: bool = False
    """Whether the rows are only to be answered: each line of the file is one then, blank ones too."""

    def option(self, what: str) -> str:
        """Return the option that names a column or the encoding, up to its value: ``what`` is a role or encoding.

        A file of texts to label is read by ``lft predict``, which has no experiment.
        """
        if self.to_answer:
            return f"--{what.replace('_', '-')} "
        return "--set data.encoding=" if what == "encoding" else f"--set {column_key(what)}="

    @property
    def rows_fix(self) -> str:
        """What to do about a file without rows."""
        return "use a file with at least one text" if self.to_answer else "add labelled rows"

    def find(self, names: Sequence[str], findings: FileFindings) -> dict[str, int] | None:
        """Return role -> position of its column, or None after an error was added.

        Args:
            names: column names as written in the file.
            findings: collects errors and warnings.
        """
        trimmed = [name.strip() for name in names]
        twice = sorted({name for name in trimmed if name and trimmed.count(name) > 1})
        if twice:
            message = f"column {twice[0]!r} occurs {trimmed.count(twice[0])} times in the header"
            findings.error("duplicate_header", message, row=1, fix="give each column a unique name")
            return None
        found = {column.role: self._sought(column).find(trimmed, findings) for column in self.columns}
        positions = {role: at for role, at in found.items() if at is not None}
        if len(positions) < len(found):
            return None
        for (role, at), (other, other_at) in combinations(positions.items(), 2):
            if at == other_at:
                message = f"{role} and {other} are both column {trimmed[at]!r}"
                fix = f"set {column_key(role)} and {column_key(other)} to different columns"
                findings.error("same_column", message, fix=fix)
                return None
        padded = [names[at] for at in positions.values() if names[at] != trimmed[at]]
        if padded and not self.to_answer:
            message = f"column name {padded[0]!r} has surrounding spaces, which were trimmed"
            findings.warning("padded_header", message, row=1, fix="remove the spaces")
        return positions

    def _sought(self, column: Column) -> "_Sought":
        # A column with a usual name of the other kind is not the one.
        inputs = input_columns(self.columns) if column.of == "truth" else ()
        not_meant = frozenset(name for other in inputs for name in other.names)
        given = self.given.get(column.role)
        return _Sought(column.role, given, column.names, self.option(column.role), not_meant)


_CLOSE = 0.7
"""Least likeness of a column name to a usual one for a hint: 0.75 for one swapped letter in four."""


def _likeness(name: str, usual: Sequence[str]) -> float:
    return max(SequenceMatcher(None, name.casefold()[:60], other).ratio() for other in usual)


@dataclass(frozen=True, slots=True)
class _Sought:
    """One column to look for: by its configured name, else by the usual names in order of preference."""

    role: str
    given: str | None
    usual: Sequence[str]
    option: str
    """How the column is named, up to its value."""
    not_meant: frozenset[str]
    """Names that are not offered for a missing column."""

    def find(self, names: Sequence[str], findings: FileFindings) -> int | None:
        folded = [name.casefold() for name in names]
        for wanted in [self.given] if self.given is not None else self.usual:
            if wanted in names:
                return names.index(wanted)
            if folded.count(wanted.casefold()) > 1:
                same = [name for name in names if name.casefold() == wanted.casefold()]
                message = f"several columns match the {self.role}: {', '.join(map(repr, same))}"
                findings.error("ambiguous_column", message, fix=f"{self.option}{same[0]}")
                return None
            if wanted.casefold() in folded:
                at = folded.index(wanted.casefold())
                if self.given is not None:
                    message = f"column {names[at]!r} is read as the {self.role}: {wanted!r} differs from it in case"
                    findings.warning("column_case", message, fix=f"{self.option}{names[at]}")
                return at
        self._report_missing(names, findings)
        return None

    def _report_missing(self, names: Sequence[str], findings: FileFindings) -> None:
        role, given = self.role, self.given
        listed = ", ".join(repr(name[:60]) for name in names[:20]) + (", ..." if len(names) > 20 else "")
        if given is not None:
            sought, hint = f"column {given!r}", nearest(given.casefold(), [name.casefold() for name in names if name])
        else:
            sought = f"column named {', '.join(self.usual[:6])} or similar"
            others = [name for name in names if name and name.casefold() not in self.not_meant]
            best = max(((_likeness(name, self.usual), name) for name in others), default=(0.0, ""))
            hint = f" Did you mean {best[1]!r}?" if best[0] >= _CLOSE else ""
        message = f"no {role} column: expected a {sought}; the file has {listed}.{hint}"
        fix = f"{self.option}NAME, or add a header line with the column names if it is missing"
        findings.error(f"no_{role}_column", message, fix=fix)
