"""Count and check labels. In: rows with label names. Out: the label list, counts, findings. Never changes a label."""

import math
import re
from collections import Counter
from collections.abc import Iterable

from lft_ray.tasks.columns import LABEL
from lft_ray.tasks.findings import LISTED_ROWS, Findings
from lft_ray.tasks.labels.separators import check_separator
from lft_ray.tasks.labels.spelling import check_spelling, first_row, lookalike
from lft_ray.tasks.rows import CleanRows, Values
from lft_ray.texts import shown

__all__ = ["check_labels", "check_unseen", "label_counts", "sorted_labels"]

FEW_ROWS = 50
"""Fewer train rows than this give a warning."""
FEW_TEXTS_OF_LABEL = 10
"""Labels with fewer distinct texts than this give a warning."""
IMBALANCE = 20
"""Ratio of the most to the least frequent label above which a warning is given."""
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_MISSING_WORDS = {"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "inf", "-inf", "infinity", "-infinity"}
"""Words that programs write for a missing or infinite value; among numbers they are no class."""
_NAN_WORDS = {"nan", "<na>", "nat", "#n/a"}
"""Those that are no name either: None, null and NA can be a class."""
_LISTED_LABELS = 8


def label_counts(values: Values) -> dict[str, int]:
    """Return the number of rows of each label, most frequent first, ties by name."""
    counts = Counter(name for names in values[LABEL] for name in names)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def sorted_labels(values: Values) -> list[str]:
    """Return the label list, in numeric order where all labels are whole numbers, else by name."""
    names = {name for labels in values[LABEL] for name in labels}
    if all(name.isdecimal() and name.isascii() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def check_labels(rows: CleanRows, *, splits: int, allows_empty: bool, findings: Findings) -> None:
    """Check the labels of the train rows, before validation and test are carved from them.

    Args:
        rows: all train rows.
        splits: number of splits they will be divided into, train included: each needs every label.
        allows_empty: whether a row may have no label.
        findings: collects errors and warnings.
    """
    counts = label_counts(rows.values)
    _check_line_breaks(rows, counts, findings)
    _check_quotes(rows, counts, findings)
    if len(rows) < FEW_ROWS:
        message = f"only {len(rows)} train rows: scores will be unreliable"
        findings.warning("few_rows", message, count=len(rows), fix=f"label at least {FEW_ROWS}, preferably 500")
    if not _has_two_classes(rows, counts, allows_empty=allows_empty, findings=findings):
        return
    if _looks_like_numbers(rows, counts, findings):
        return
    _check_support(rows, counts, splits, findings)
    _check_balance(counts, findings)
    check_spelling(rows, counts, findings)
    check_separator(rows, counts, several=allows_empty, findings=findings)


def check_unseen(train: CleanRows, other: CleanRows, findings: Findings) -> None:
    """Compare a given split's labels with train: labels unseen in train are errors, missing ones warnings."""
    known = label_counts(train.values)
    counts = label_counts(other.values)
    unseen = [name for name in counts if name not in known]
    found = [(*first_row(other, name), _unseen(name, other.split, known)) for name in unseen[: LISTED_ROWS + 1]]
    fix = "add train rows with the label, or correct its spelling"
    summary = f"labels of {other.split} that are not in train"
    findings.error_rows("unseen_label", found, summary=summary, fix=fix, more=len(unseen) - len(found))
    missing = sorted(set(known) - set(counts))
    if missing and not unseen:
        message = f"{other.split} has no row with {_listed(missing)}: its macro-F1 leaves them out"
        findings.warning("label_missing_in_split", message, count=len(missing), fix=f"add such rows to {other.split}")


def _unseen(name: str, split: str, known: Iterable[str]) -> str:
    return f"label {shown(name)} of {split} is not in train{lookalike(name, known)}"


def _listed(names: list[str]) -> str:
    listed = ", ".join(map(shown, names[:_LISTED_LABELS]))
    return f"{listed} and {len(names) - _LISTED_LABELS} more" if len(names) > _LISTED_LABELS else listed


def _has_two_classes(rows: CleanRows, counts: dict[str, int], *, allows_empty: bool, findings: Findings) -> bool:
    if not counts:
        findings.error("no_labels", "no row has a label", fix="is it the right column? --set task.label=NAME")
        return False
    if len(counts) == 1 and not (allows_empty and any(not names for names in rows.values[LABEL])):
        name = next(iter(counts))
        message = f"all {len(rows):,} rows have the label {name!r}: there is nothing to learn"
        findings.error("one_label", message, fix="add rows with another label, or name another column")
        return False
    return True


def _looks_like_numbers(rows: CleanRows, counts: dict[str, int], findings: Findings) -> bool:
    fix = "is it the right column? --set task.label=NAME; bin a numeric target into named classes"
    missing = [name for name in counts if name.casefold() in _MISSING_WORDS]
    others = [name for name in counts if name not in missing]
    numbers = bool(others) and all(_NUMBER.match(name) for name in others)
    if missing and numbers:
        name = missing[0]
        message = f"label {name!r} among numbers ({counts[name]:,} rows): a missing value?"
        told = "leave the cell empty where there is no label, or give that class a name"
        file, row = first_row(rows, name)
        findings.error("missing_word", message, file=file, row=row, fix=told)
    for name in [name for name in missing if not numbers and name.casefold() in _NAN_WORDS]:
        message = f"label {name!r} ({counts[name]:,} rows) is read as a label, not as a missing one"
        told = "leave the cell empty where there is no label"
        findings.warning("missing_word", message, at=first_row(rows, name), count=counts[name], fix=told)
    fraction = next((name for name in others if numbers and not _is_whole(name)), None)
    if fraction is not None:
        message = f"labels are numbers with a fraction, such as {fraction!r}: a regression target?"
        file, row = first_row(rows, fraction)
        findings.error("float_label", message, file=file, row=row, fix=fix)
        return True
    if len(counts) > 2 and len(counts) > len(rows) / 2:
        message = f"{len(counts):,} different labels in {len(rows):,} rows: an id or a free text column?"
        findings.error("too_many_labels", message, fix=fix)
        return True
    return False


def _check_quotes(rows: CleanRows, counts: dict[str, int], findings: Findings) -> None:
    quoted = [name for name in counts if len(name) > 2 and name[0] == name[-1] and name[0] in "'\"`"]
    if len(quoted) > len(counts) / 2:
        message = f"labels such as {shown(quoted[0])} include their quotation marks"
        at = first_row(rows, quoted[0])
        findings.warning("label_quotes", message, at=at, count=len(quoted), fix="remove the quotation marks")


def _is_whole(number: str) -> bool:
    value = float(number)
    return value == math.inf or value == -math.inf or value % 1 == 0


def _check_line_breaks(rows: CleanRows, counts: dict[str, int], findings: Findings) -> None:
    broken = [name for name in counts if len(name.splitlines()) > 1 or "\0" in name]
    found = [(*first_row(rows, name), f"label {shown(name)} contains a line break or NUL") for name in broken]
    fix = "write each label in one line"
    findings.error_rows("label_line_break", found, summary="labels with a line break or NUL", fix=fix)


def _check_support(rows: CleanRows, counts: dict[str, int], splits: int, findings: Findings) -> None:
    # Texts, not rows: equal texts stay in one split.
    keys: dict[str, set[int]] = {name: set() for name in counts}
    for key, names in zip(rows.keys.tolist(), rows.values[LABEL], strict=True):
        for name in names:
            if len(keys[name]) < FEW_TEXTS_OF_LABEL:
                keys[name].add(key)
    too_few = [name for name in counts if len(keys[name]) < max(splits, 2)]
    found = [
        (
            *first_row(rows, name),
            f"label {name!r} has {len(keys[name])} different texts, at least {max(splits, 2)} are needed",
        )
        for name in too_few[: LISTED_ROWS + 1]
    ]
    fix = "label more texts of it, merge it with another label, or remove its rows"
    summary = f"labels with fewer than {max(splits, 2)} texts (one for each of {splits} splits)"
    findings.error_rows("label_too_few_rows", found, summary=summary, fix=fix, more=len(too_few) - len(found))
    few = [name for name in counts if max(splits, 2) <= len(keys[name]) < FEW_TEXTS_OF_LABEL]
    if few:
        message = f"labels with fewer than {FEW_TEXTS_OF_LABEL} texts: {_listed(few)}"
        findings.warning(
            "label_few_rows", message, at=first_row(rows, few[0]), count=len(few), fix="label more of them"
        )


def _check_balance(counts: dict[str, int], findings: Findings) -> None:
    ranked = list(counts.items())
    (most, most_rows), (least, least_rows) = ranked[0], ranked[-1]
    if most_rows > IMBALANCE * least_rows:
        message = (
            f"label {most!r} has {most_rows / least_rows:.0f} times the rows of {least!r} "
            f"({most_rows:,} and {least_rows:,}); macro-F1 counts every label alike"
        )
        findings.warning("imbalance", message, fix="judge by macro_f1, not accuracy; label more of the rare ones")
