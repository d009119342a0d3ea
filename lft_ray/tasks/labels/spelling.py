"""Find names that are one label in several spellings. In: clean rows. Out: rows with one spelling, and findings.

Spellings that nobody can tell apart by eye (composed and decomposed accents, invisible characters, kinds of spaces) are
made one, with a warning. Names that look alike or differ by case or one letter stay as they are and are reported.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from lft_ray.tasks.columns import LABEL
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.rows import CleanRows
from lft_ray.texts import canonical, differences, invisible_key, shown, skeleton

__all__ = ["check_spelling", "first_row", "lookalike", "one_spelling"]

RARE_SHARE = 0.05
"""A label this rare, relative to a similarly spelt one, is likely a typing error."""


def one_spelling(rows: Mapping[str, CleanRows], findings: Findings) -> dict[str, CleanRows]:
    """Give spellings that look the same the most frequent one of train (of the first split that has the label).

    Args:
        rows: rows of each split, train first.
        findings: collects a warning for each spelling that was replaced.
    """
    chosen: dict[str, str] = {}
    result: dict[str, CleanRows] = {}
    for split, part in rows.items():
        counts: dict[str, int] = {}
        for names in part.values[LABEL]:
            for name in names:
                counts[name] = counts.get(name, 0) + 1
        keys = {name: invisible_key(name) for name in counts}
        for name in sorted(counts, key=lambda name: (-counts[name], name)):
            chosen.setdefault(keys[name], name)
        renamed = {name: chosen[key] for name, key in keys.items() if key and chosen[key] != name}
        result[split] = _renamed(part, renamed) if renamed else part
        for name, kept in renamed.items():
            message = (
                f"label {shown(name)} of {split} ({counts[name]:,} rows) is the same label as {shown(kept)} in another "
                f"Unicode spelling; read as {shown(kept)} ({differences(name, kept)})"
            )
            fix = "write the label alike in all rows"
            at = first_row(part, name)
            findings.warning("label_unicode", message, at=at, count=counts[name], fix=fix)
    return result


def _renamed(rows: CleanRows, names: Mapping[str, str]) -> CleanRows:
    labels = [list(dict.fromkeys(names.get(name, name) for name in row)) for row in rows.values[LABEL]]
    return replace(rows, values={**rows.values, LABEL: labels})


def first_row(rows: CleanRows, label: str) -> tuple[str, int]:
    """File and row of the first row with a label."""
    return rows.origin(next(index for index, names in enumerate(rows.values[LABEL]) if label in names))


def lookalike(name: str, others: Iterable[str]) -> str:
    """Say which of other names looks like a name, for the end of a message; empty if none does."""
    for key in (invisible_key, canonical, skeleton, _number):
        wanted = key(name)
        for other in others if wanted else ():
            if key(other) == wanted:
                return f"; it looks like {shown(other)} ({differences(name, other)})"
    return ""


def _number(name: str) -> str:
    """Key that is equal for spellings of one number, such as 1, 01 and 1.0; empty for other names."""
    try:
        return f"{float(name):.17g}" if name.strip().isascii() else ""
    except ValueError:
        return ""


def check_spelling(rows: CleanRows, counts: Mapping[str, int], findings: Findings) -> None:
    """Warn of labels that look alike, and of rare ones spelt nearly like a frequent one.

    Args:
        rows: train rows.
        counts: rows of each label, most frequent first.
        findings: collects the warnings.
    """
    reported: set[tuple[str, str]] = set()
    for rare, frequent in _lookalikes(counts):
        reported.add((rare, frequent))
        message = (
            f"labels {shown(rare)} ({counts[rare]:,} rows) and {shown(frequent)} ({counts[frequent]:,}) look alike "
            f"({differences(rare, frequent)})"
        )
        fix = "make them one label if they mean the same"
        findings.warning("label_lookalike", message, at=first_row(rows, rare), count=counts[rare], fix=fix)
    for rare, frequent in _similar_pairs(counts):
        is_case = rare.casefold() == frequent.casefold()
        is_rare = counts[rare] <= max(2, RARE_SHARE * counts[frequent])
        if (is_case or is_rare) and (rare, frequent) not in reported:
            reported.add((rare, frequent))
            message = f"label {rare!r} ({counts[rare]:,} rows) is spelt nearly like {frequent!r} ({counts[frequent]:,})"
            fix = "make them one label if they mean the same"
            findings.warning("label_spelling", message, at=first_row(rows, rare), count=counts[rare], fix=fix)


def _lookalikes(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield (rarer, more frequent) names of which at least one is not ASCII and that look alike, or differ in width."""
    seen: dict[str, str] = {}
    for name in counts:
        other = seen.setdefault(skeleton(name), name)
        if other != name and other.casefold() != name.casefold():
            yield name, other


def _similar_pairs(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
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
