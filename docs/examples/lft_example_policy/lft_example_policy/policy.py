"""A selection policy: follow the front upwards while quality is worth its price."""

import math
from collections.abc import Sequence

from lft_ray.records import FrontPoint

__all__ = ["knee"]


def knee(points: Sequence[FrontPoint], *, margin: float) -> FrontPoint:
    """The most expensive point whose F1 grows by at least ``margin`` for each doubling of its cost.

    Args:
        points: what may win, at least one.
        margin: ``selection.margin`` as a fraction of F1.

    Returns:
        One of ``points``, unchanged.
    """
    ordered = sorted(points, key=lambda point: (point.usd_per_million_predictions, -point.f1, point.trial_id))
    chosen = ordered[0]
    for point in ordered[1:]:
        doublings = math.log2(point.usd_per_million_predictions / chosen.usd_per_million_predictions)
        if point.f1 > chosen.f1 and point.f1 - chosen.f1 >= margin * doublings:
            chosen = point
    return chosen
