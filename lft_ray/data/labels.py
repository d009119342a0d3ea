"""Count and check labels. In: clean rows. Out: the label list, and findings. Never changes a label."""

import re
from collections import Counter
from collections.abc import Iterator

from lft_ray.data.findings import LISTED_ROWS, Findings
from lft_ray.data.readers.table import CleanRows

__all__ = ["check_labels", "check_unseen", "label_counts", "sorted_labels"]

FEW_ROWS = 50
"""Fewer train rows than this give a warning."""
FEW_TEXTS_OF_LABEL = 10
"""Labels with fewer distinct texts than this give a warning."""
IMBALANCE = 20
"""Ratio of the most to the least frequent label above which a warning is given."""
RARE_SHARE = 0.05
"""A label this rare, relative to a similarly spelt one, is likely a typing error."""
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_LISTED_LABELS = 8


def label_counts(rows: CleanRows) -> dict[str, int]:
    """Return the number of rows of each label, most frequent first, ties by name."""
    counts = Counter(name for names in rows.labels for name in names)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def sorted_labels(rows: CleanRows) -> list[str]:
    """Return the label list, in numeric order where all labels are whole numbers, else by name."""
    names = {name for labels in rows.labels for name in labels}
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
    counts = label_counts(rows)
    if len(rows.texts) < FEW_ROWS:
        message = f"only {len(rows.texts)} train rows: scores will be unreliable"
        findings.warning("few_rows", message, count=len(rows.texts), fix=f"label at least {FEW_ROWS}, preferably 500")
    if not _has_two_classes(rows, counts, allows_empty=allows_empty, findings=findings):
        return
    if _looks_like_numbers(rows, counts, findings):
        return
    _check_support(rows, counts, splits, findings)
    _check_balance(counts, findings)
    _check_spelling(rows, counts, findings)
    if allows_empty:
        _check_separator(rows, counts, findings)


def check_unseen(train: CleanRows, other: CleanRows, findings: Findings) -> None:
    """Compare a given split's labels with train: labels unseen in train are errors, missing ones warnings."""
    known = {name for names in train.labels for name in names}
    counts = label_counts(other)
    unseen = [name for name in counts if name not in known]
    found = [(*_first(other, name), f"label {name!r} of {other.split} is not in train") for name in unseen]
    fix = "add train rows with the label, or correct its spelling"
    findings.error_rows("unseen_label", found, summary=f"labels of {other.split} that are not in train", fix=fix)
    missing = sorted(known - set(counts))
    if missing and not unseen:
        message = f"{other.split} has no row with {_listed(missing)}: its macro-F1 leaves them out"
        findings.warning("label_missing_in_split", message, count=len(missing), fix=f"add such rows to {other.split}")


def _first(rows: CleanRows, label: str) -> tuple[str, int]:
    return rows.origin(next(index for index, names in enumerate(rows.labels) if label in names))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_LISTED_LABELS])
    return f"{shown} and {len(names) - _LISTED_LABELS} more" if len(names) > _LISTED_LABELS else shown


def _has_two_classes(rows: CleanRows, counts: dict[str, int], *, allows_empty: bool, findings: Findings) -> bool:
    if not counts:
        findings.error("no_labels", "no row has a label", fix="is it the right column? --set task.label=NAME")
        return False
    if len(counts) == 1 and not (allows_empty and any(not names for names in rows.labels)):
        name = next(iter(counts))
        message = f"all {len(rows.texts):,} rows have the label {name!r}: there is nothing to learn"
        findings.error("one_label", message, fix="add rows with another label, or name another column")
        return False
    return True


def _looks_like_numbers(rows: CleanRows, counts: dict[str, int], findings: Findings) -> bool:
    fix = "is it the right column? --set task.label=NAME; bin a numeric target into named classes"
    numbers = all(_NUMBER.match(name) for name in counts)
    fraction = next((name for name in counts if numbers and float(name) % 1 != 0), None)
    if fraction is not None:
        message = f"labels are numbers with a fraction, such as {fraction!r}: a regression target?"
        file, row = _first(rows, fraction)
        findings.error("float_label", message, file=file, row=row, fix=fix)
        return True
    if len(counts) > 2 and len(counts) > len(rows.texts) / 2:
        message = f"{len(counts):,} different labels in {len(rows.texts):,} rows: an id or a free text column?"
        findings.error("too_many_labels", message, fix=fix)
        return True
    return False


def _check_support(rows: CleanRows, counts: dict[str, int], splits: int, findings: Findings) -> None:
    # Texts, not rows: equal texts stay in one split.
    keys: dict[str, set[int]] = {name: set() for name in counts}
    for key, names in zip(rows.keys.tolist(), rows.labels, strict=True):
        for name in names:
            if len(keys[name]) < FEW_TEXTS_OF_LABEL:
                keys[name].add(key)
    too_few = [name for name in counts if len(keys[name]) < max(splits, 2)]
    found = [
        (
            *_first(rows, name),
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
        findings.warning("label_few_rows", message, at=_first(rows, few[0]), count=len(few), fix="label more of them")


def _check_balance(counts: dict[str, int], findings: Findings) -> None:
    ranked = list(counts.items())
    (most, most_rows), (least, least_rows) = ranked[0], ranked[-1]
    if most_rows > IMBALANCE * least_rows:
        message = (
            f"label {most!r} has {most_rows / least_rows:.0f} times the rows of {least!r} "
            f"({most_rows:,} and {least_rows:,}); macro-F1 counts every label alike"
        )
        findings.warning("imbalance", message, fix="judge by macro_f1, not accuracy; label more of the rare ones")


def _check_separator(rows: CleanRows, counts: dict[str, int], findings: Findings) -> None:
    for mark in (";", "|"):
        joined = [name for name in counts if mark in name]
        if len(joined) > len(counts) / 2:
            message = f"labels such as {joined[0]!r} look like several labels joined by {mark!r}, expected commas"
            fix = f"replace {mark!r} by commas"
            findings.warning("label_separator", message, at=_first(rows, joined[0]), count=len(joined), fix=fix)


def _check_spelling(rows: CleanRows, counts: dict[str, int], findings: Findings) -> None:
    reported: set[tuple[str, str]] = set()
    for rare, frequent in _similar_pairs(counts):
        is_case = rare.casefold() == frequent.casefold()
        is_rare = counts[rare] <= max(2, RARE_SHARE * counts[frequent])
        if (is_case or is_rare) and (rare, frequent) not in reported:
            reported.add((rare, frequent))
            message = f"label {rare!r} ({counts[rare]:,} rows) is spelt nearly like {frequent!r} ({counts[frequent]:,})"
            fix = "make them one label if they mean the same"
            findings.warning("label_spelling", message, at=_first(rows, rare), count=counts[rare], fix=fix)


def _similar_pairs(counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield (rarer, more frequent) pairs that differ only in case, or by one letter in names of at least four.

    Names one edit apart become equal when one letter is deleted from one or both, so indexing every deletion finds all
    pairs in time linear in the number of labels.
    """
    seen: dict[str, list[str]] = {}
    for name in counts:  # most frequent first
        folded = name.casefold()
        forms = {folded}
        if len(folded) >= 4 and not any(letter.isdigit() for letter in folded):
            forms |= {folded[:at] + folded[at + 1 :] for at in range(len(folded))}
        others = {other: None for form in sorted(forms) for other in seen.get(form, ())}
        yield from ((name, other) for other in others)
        for form in forms:
            seen.setdefault(form, []).append(name)
