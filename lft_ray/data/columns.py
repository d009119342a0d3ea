"""Find the text and the label column by name. In: a file's column names. Out: two positions, or an error that lists."""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.data.findings import Findings
from lft_ray.errors import nearest

__all__ = ["TEXT_NAMES", "WantedColumns"]

TEXT_NAMES = (
    "text", "sentence", "content", "review", "body", "headline", "title", "question", "comment", "tweet", "message",
    "utterance", "document", "description", "query", "abstract", "post", "statement", "input", "prompt",
)  # fmt: skip
"""Where the text is looked for when the file of the experiment does not name it, best first."""


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """What to look for."""

    text: str | None
    label: str | None
    label_names: tuple[str, ...]
    """The task's names for a label column, best first."""
    only_text: bool = False
    """The file needs no label: the text column then stands for it, and what is read of it is not looked at."""

    def find(self, names: Sequence[str], file: str, findings: Findings) -> tuple[int, int] | None:
        """Return the positions of text and label, or None after an error was added.

        Args:
            names: column names as they stand in the file.
            file: for the error.
            findings: where errors and warnings go.
        """
        trimmed = [name.strip() for name in names]
        twice = sorted({name for name in trimmed if name and trimmed.count(name) > 1})
        if twice:
            message = f"column {twice[0]!r} stands {trimmed.count(twice[0])} times in the header"
            findings.error("duplicate_header", message, file=file, row=1, fix="give each column a name of its own")
            return None
        text = _position("text", self.text, TEXT_NAMES, trimmed, (file, findings))
        if self.only_text:
            return None if text is None else (text, text)
        label = _position("label", self.label, self.label_names, trimmed, (file, findings))
        if text is None or label is None:
            return None
        if text == label:
            message = f"text and label are both column {trimmed[text]!r}"
            findings.error("same_column", message, file=file, fix="set task.text and task.label to different columns")
            return None
        padded = [names[i] for i in (text, label) if names[i] != trimmed[i]]
        if padded:
            message = f"column name {padded[0]!r} has spaces around it: trimmed"
            findings.warning("padded_header", message, at=(file, 1), fix="remove the spaces")
        return text, label


def _position(
    what: str, given: str | None, candidates: Sequence[str], names: Sequence[str], report: tuple[str, Findings]
) -> int | None:
    folded = [name.casefold() for name in names]
    for wanted in [given] if given is not None else candidates:
        if wanted in names:
            return names.index(wanted)
        if folded.count(wanted.casefold()) > 1:
            same = [name for name in names if name.casefold() == wanted.casefold()]
            message = f"several columns may be the {what}: {', '.join(map(repr, same))}"
            report[1].error("ambiguous_column", message, file=report[0], fix=f"--set task.{what}={same[0]}")
            return None
        if wanted.casefold() in folded:
            return folded.index(wanted.casefold())
    _missing(what, given, candidates, names, report)
    return None


def _missing(
    what: str, given: str | None, candidates: Sequence[str], names: Sequence[str], report: tuple[str, Findings]
) -> None:
    listed = ", ".join(repr(name[:60]) for name in names[:20]) + (", ..." if len(names) > 20 else "")
    if given is not None:
        sought, hint = f"column {given!r}", nearest(given.casefold(), [name.casefold() for name in names if name])
    else:
        close = [(name, nearest(name.casefold(), candidates)) for name in names if name]
        sought = f"column named {', '.join(candidates[:6])} or the like"
        hint = next((f" Is {name!r} it?" for name, found in close if found), "")
    message = f"no {what} column: expected a {sought}; the file has {listed}.{hint}"
    fix = f"--set task.{what}=NAME, or add a header line with the column names if it is missing"
    report[1].error(f"no_{what}_column", message, file=report[0], fix=fix)
