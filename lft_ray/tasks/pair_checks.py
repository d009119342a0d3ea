"""Checks of pairs of texts. In: rows with a first and a second text. Out: findings. Never drops or changes a row."""

from collections import Counter
from collections.abc import Sequence

from lft_ray.tasks.columns import LABEL, column_key
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.rows import CleanRows

__all__ = ["check_pairs"]


def check_pairs(rows: CleanRows, roles: tuple[str, str], findings: Findings) -> None:
    """Report pairs of two equal texts, and pairs that occur the other way round with another label.

    Args:
        rows: rows of one split.
        roles: roles of the first and the second text.
        findings: collects an error where every pair is of two equal texts, else warnings.
    """
    first, second = (_normal(rows.values[role]) for role in roles)
    labels = [tuple(names) for names in rows.values[LABEL]]
    _check_equal(rows, roles, [one == two for one, two in zip(first, second, strict=True)], findings)
    _check_swapped(rows, list(zip(first, second, strict=True)), labels, findings)


def _normal(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.casefold().split()) for text in texts]


def _check_equal(rows: CleanRows, roles: tuple[str, str], equal: Sequence[bool], findings: Findings) -> None:
    same = [row for row, is_same in enumerate(equal) if is_same]
    if not same:
        return
    at = rows.origin(same[0])
    if len(same) == len(equal):
        message = f"both texts are equal in all {len(equal):,} pairs of {rows.split}: a column is there twice"
        fix = f"name the columns with --set {column_key(roles[0])}=NAME and --set {column_key(roles[1])}=NAME"
        findings.error("equal_texts", message, file=at[0], row=at[1], fix=fix)
        return
    counts = Counter(name for row in same for name in rows.values[LABEL][row])
    told = ", ".join(f"{name!r} {count:,}" for name, count in counts.most_common(4))
    message = f"pairs of two equal texts in {rows.split}: {len(same):,} ({len(same) / len(equal):.1%}; {told})"
    fix = "remove them unless equal texts are asked for: any model tells them apart"
    findings.warning("equal_texts", message, at=at, count=len(same), fix=fix)


def _check_swapped(
    rows: CleanRows, pairs: Sequence[tuple[str, str]], labels: Sequence[tuple[str, ...]], findings: Findings
) -> None:
    known: dict[tuple[str, str], int] = {}
    swapped: list[tuple[int, int]] = []
    for row, (one, two) in enumerate(pairs):
        other = known.get((two, one))
        if one != two and other is not None and labels[other] != labels[row]:
            swapped.append((row, other))
        known.setdefault((one, two), row)
    if swapped:
        row, other = swapped[0]
        message = (
            f"pairs of {rows.split} that occur the other way round with another label: {len(swapped):,} (this one: "
            f"{', '.join(labels[row])!r} here, {', '.join(labels[other])!r} in row {rows.origin(other)[1]})"
        )
        fix = "if the order of the two texts means nothing, choose one label for each pair"
        findings.warning("swapped_pairs", message, at=rows.origin(row), count=len(swapped), fix=fix)
