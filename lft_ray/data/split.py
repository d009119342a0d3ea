"""Split and sample rows, stratified. In: text keys and strata. Out: row positions. Pure; never reads the texts.

A hash of text and seed decides the split of a row: rows with equal normalised text stay together, and adding rows moves
few others to another split.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.keys import shuffled_keys

__all__ = ["carve", "sample"]

Positions = NDArray[np.int64]


def carve(
    keys: NDArray[np.uint64], strata: list[str], *, shares: Mapping[str, float], seed: int
) -> dict[str, Positions]:
    """Carve splits from the train rows.

    In each stratum the share of rows is met up to rounding (or up to the size of a group of equal texts), and a split
    gets at least one text of every stratum that has enough texts for all splits.

    Args:
        keys: uint64 [n], equal for texts that must stay in one split.
        strata: stratum of each row, [n]; a group of equal texts belongs to the stratum of its first row.
        shares: split name -> share of all rows, at most two; the first is taken from the low end of the hash order, the
            second from the high end, so that changing one share leaves the other split unchanged.
        seed: random seed.

    Returns:
        ``train`` and each name of ``shares`` -> ascending row positions; together they hold every row once.
    """
    groups = _Groups(keys, strata, seed, "split")
    side = np.zeros(len(groups.sizes), dtype=np.int8)
    for members in groups.by_stratum.values():
        rows = int(groups.sizes[members].sum())
        has_one_each = len(members) > len(shares)
        for number, share in enumerate(shares.values(), start=1):
            wanted = int(share * rows + 0.5)
            wanted = max(wanted, 1) if has_one_each else wanted
            left = members[side[members] == 0]
            # spare=1: train retains at least one text of every stratum, whatever the shares.
            taken = _fill(left if number == 1 else left[::-1], groups.sizes, wanted, spare=1)
            side[taken] = number
    row_side = side[groups.of_row]
    return {name: np.flatnonzero(row_side == number).astype(np.int64) for number, name in enumerate(["train", *shares])}


def sample(keys: NDArray[np.uint64], strata: list[str], *, rows: int, minimum: int, seed: int) -> Positions:
    """Draw a stratified sample that changes little when rows are added.

    Args:
        keys: uint64 [n].
        strata: stratum of each row, [n].
        rows: maximum sample size (groups of equal texts are not divided, so it may be slightly smaller).
        minimum: texts to sample from each stratum that has them, as far as ``rows`` allows.
        seed: random seed.

    Returns:
        Ascending row positions.
    """
    if rows >= len(keys):
        return np.arange(len(keys), dtype=np.int64)
    groups = _Groups(keys, strata, seed, "sample")
    names = list(groups.by_stratum)
    sizes = np.array([groups.sizes[groups.by_stratum[name]].sum() for name in names], dtype=np.float64)
    quotas = _quotas(sizes, rows, minimum)
    chosen = np.zeros(len(groups.sizes), dtype=np.bool_)
    for name, quota in zip(names, quotas, strict=True):
        chosen[_fill(groups.by_stratum[name], groups.sizes, int(quota), spare=0)] = True
    return np.flatnonzero(chosen[groups.of_row]).astype(np.int64)


class _Groups:
    """Rows of equal text, grouped, and ordered by hash within each stratum."""

    def __init__(self, keys: NDArray[np.uint64], strata: list[str], seed: int, salt: str) -> None:
        unique, first, self.of_row, self.sizes = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(shuffled_keys(unique, seed=seed, salt=salt), kind="stable")
        members: dict[str, list[int]] = {}
        for group in order.tolist():
            members.setdefault(strata[first[group]], []).append(group)
        self.by_stratum = {name: np.array(members[name], dtype=np.int64) for name in sorted(members)}


def _fill(members: Positions, sizes: NDArray[np.int64], wanted: int, *, spare: int) -> Positions:
    """Take groups in order until they hold ``wanted`` rows, skipping groups that do not fit; leave ``spare`` groups."""
    taken: list[int] = []
    filled = 0
    allowed = members[: max(0, len(members) - spare)]
    for group in allowed.tolist():
        if filled >= wanted:
            break
        if filled + sizes[group] <= wanted:
            taken.append(group)
            filled += int(sizes[group])
    if wanted > 0 and not taken and len(allowed):
        # Every group of equal texts is larger than the share: take the smallest.
        taken.append(int(allowed[np.argmin(sizes[allowed])]))
    return np.array(taken, dtype=np.int64)


def _quotas(sizes: NDArray[np.float64], rows: int, minimum: int) -> NDArray[np.int64]:
    """Divide ``rows`` among strata by size (largest remainder), at least ``minimum`` each while that fits."""
    exact = sizes * rows / sizes.sum()
    quotas = np.maximum(np.floor(exact).astype(np.int64), np.minimum(sizes, minimum).astype(np.int64))
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for stratum in order[: max(0, rows - int(quotas.sum()))]:
        quotas[stratum] += quotas[stratum] < sizes[stratum]
    while quotas.sum() > rows:
        quotas[np.argmax(quotas)] -= 1
    return np.asarray(quotas, dtype=np.int64)
