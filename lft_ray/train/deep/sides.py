"""Pairs of texts in the deep check: which share a text, and whether a probe can judge them at all. Pure numpy.

In: keys of each text, probabilities. Out: group numbers, or a sentence. Never reads texts or fits anything.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["cannot_judge", "linked"]

Keys = NDArray[np.uint64]
MOST_OF_A_GROUP = 0.2
"""Largest share of the rows in one group: beyond it a fold would hold most of the data."""
LEAST_SKILL = 0.4
"""Share of the way from guessing to no error that a probe must have come to accuse a label. Two halves of a pair may
need more than a linear model on two vectors: on questions with a right and a wrong reply it guessed."""


def linked(keys: Keys, sides: Sequence[Keys]) -> Keys:
    """Keys of rows that must share a fold: those with a text in common get one key.

    Otherwise a probe would see a question with one of its answers, and conclude that the other has the other label.

    Args:
        keys: key of each row, uint64 [n].
        sides: key of each text by side, uint64 [n] each.

    Returns:
        uint64 [n]: one key for rows linked by either text, or by the first alone where nearly all rows are linked.
    """
    for chosen in (list(sides), list(sides[:1])):
        found = _components([keys, *chosen])
        if np.bincount(found).max() <= max(1.0, MOST_OF_A_GROUP * len(keys)):
            return found.astype(np.uint64)
    return keys


def _components(columns: Sequence[Keys]) -> NDArray[np.int64]:
    """Number of the connected component of each row, where rows with an equal key in any column are connected."""
    component = np.arange(len(columns[0]), dtype=np.int64)
    numbered = [np.unique(column, return_inverse=True)[1] for column in columns]
    while True:
        before = component
        for numbers in numbered:
            least = np.full(numbers.max() + 1, len(component), np.int64)
            np.minimum.at(least, numbers, component)
            component = least[numbers]
        if np.array_equal(before, component):
            return np.unique(component, return_inverse=True)[1].astype(np.int64)


def cannot_judge(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> str:
    """Say why out-of-fold probabilities are no ground to accuse labels; empty if they are one.

    Args:
        probabilities: float64 [n, c].
        targets: label of each row, int64 [n].
    """
    right = probabilities.argmax(axis=1) == targets
    labels = np.unique(targets)
    recall = float(np.mean([right[targets == label].mean() for label in labels]))
    chance = 1.0 / len(labels)
    if recall >= chance + LEAST_SKILL * (1.0 - chance):
        return ""
    return (
        f"the probe finds {recall:.0%} of the labels of rows it has not seen, where guessing finds {chance:.0%}: it "
        "accuses none"
    )
