"""Find the text and label columns by name. In: column names of a file. Out: two positions, or an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lft_ray.data.findings import FileFindings
from lft_ray.errors import nearest

__all__ = ["TEXT_NAMES", "WantedColumns"]

TEXT_NAMES = (
    "text", "sentence", "content", "review", "body", "headline", "title", "question", "comment", "tweet", "message",
    "utterance", "document", "description", "query", "abstract", "post", "statement", "input", "prompt",
)  # fmt: skip
"""Column names tried for the text when the experiment file does not name one, in order of preference."""


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """Columns to look for in a file."""

    text: str | None
    """Name of the text column; None: try `TEXT_NAMES`."""
    label: str | None
    """Name of the label column; None: try ``label_names``."""
    label_names: tuple[str, ...]
    """The task's usual names for a label column, in order of preference."""
    only_text: bool = False
    """Whether the file needs no label; the text column then also stands in for the label and is ignored there."""

    def option(self, what: str) -> str:
        """Return the option that names a column or the encoding, up to its value: ``what`` is text, label or encoding.

        A file of texts to label is read by ``lft predict``, which has no experiment.
        """
        if self.only_text:
            return f"--{what} "
        return "--set data.encoding=" if what == "encoding" else f"--set task.{what}="

    @property
    def rows_fix(self) -> str:
        """What to do about a file without rows."""
        return "use a file with at least one text" if self.only_text else "add labelled rows"

    def find(self, names: Sequence[str], findings: FileFindings) -> tuple[int, int] | None:
        """Return the positions of text and label, or None after an error was added.

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
        text = _Column("text", self.text, TEXT_NAMES, self.option("text")).find(trimmed, findings)
        if self.only_text:
            return None if text is None else (text, text)
        label = _Column("label", self.label, self.label_names, self.option("label")).find(trimmed, findings)
        if text is None or label is None:
            return None
        if text == label:
            message = f"text and label are both column {trimmed[text]!r}"
            findings.error("same_column", message, fix="set task.text and task.label to different columns")
            return None
        padded = [names[i] for i in (text, label) if names[i] != trimmed[i]]
        if padded:
            message = f"column name {padded[0]!r} has surrounding spaces, which were trimmed"
            findings.warning("padded_header", message, row=1, fix="remove the spaces")
        return text, label


_CLOSE = 0.7
"""Least likeness of a column name to a usual one for a hint: 0.75 for one swapped letter in four."""


def _likeness(name: str, usual: Sequence[str]) -> float:
    return max(SequenceMatcher(None, name.casefold()[:60], other).ratio() for other in usual)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column to look for: by its configured name, else by the usual names in order of preference."""

    what: str
    given: str | None
    usual: Sequence[str]
    option: str
    """How the column is named, up to its value."""

    def find(self, names: Sequence[str], findings: FileFindings) -> int | None:
        folded = [name.casefold() for name in names]
        for wanted in [self.given] if self.given is not None else self.usual:
            if wanted in names:
                return names.index(wanted)
            if folded.count(wanted.casefold()) > 1:
                same = [name for name in names if name.casefold() == wanted.casefold()]
                message = f"several columns match the {self.what}: {', '.join(map(repr, same))}"
                findings.error("ambiguous_column", message, fix=f"{self.option}{same[0]}")
                return None
            if wanted.casefold() in folded:
                at = folded.index(wanted.casefold())
                if self.given is not None:
                    message = f"column {names[at]!r} is read as the {self.what}: {wanted!r} differs from it in case"
                    findings.warning("column_case", message, fix=f"{self.option}{names[at]}")
                return at
        self._report_missing(names, findings)
        return None

    def _report_missing(self, names: Sequence[str], findings: FileFindings) -> None:
        what, given = self.what, self.given
        listed = ", ".join(repr(name[:60]) for name in names[:20]) + (", ..." if len(names) > 20 else "")
        if given is not None:
            sought, hint = f"column {given!r}", nearest(given.casefold(), [name.casefold() for name in names if name])
        else:
            sought = f"column named {', '.join(self.usual[:6])} or similar"
            # A column with a usual name of the other kind is not the one.
            others = [name for name in names if name and not (what == "label" and name.casefold() in TEXT_NAMES)]
            best = max(((_likeness(name, self.usual), name) for name in others), default=(0.0, ""))
            hint = f" Did you mean {best[1]!r}?" if best[0] >= _CLOSE else ""
        message = f"no {what} column: expected a {sought}; the file has {listed}.{hint}"
        fix = f"{self.option}NAME, or add a header line with the column names if it is missing"
        findings.error(f"no_{what}_column", message, fix=fix)
