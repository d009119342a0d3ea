"""Whether validation has stopped gaining, so that a trial may end itself. In: scores so far. Out: yes or no. Pure.

Such a trial is done: it is scored, saved and served with the weights that it ended with, and its curve ends at the
fraction of the schedule where it did. Its learning rate may not have fallen yet, so it is not what a shorter schedule
would have come to. Every process has the same scores, so all of them end in the same step.
"""

from collections.abc import Sequence

from lft_ray.methods import PlateauSpec

__all__ = ["has_ended"]


def has_ended(scores: Sequence[float], spec: PlateauSpec | None) -> bool:
    """Whether the last ``spec.patience`` scores all failed to gain.

    Args:
        scores: F1 of each validation pass since training began, in order.
        spec: how long to wait, and what counts as a gain over the best so far; None: never end.
    """
    if spec is None:
        return False
    best, idle = float("-inf"), 0
    for f1 in scores:
        if f1 > best + spec.min_delta:
            best, idle = f1, 0
        else:
            idle += 1
    return idle >= spec.patience
