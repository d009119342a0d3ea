"""Selection policies: which eligible point wins. In: points with the F1 to compare. Out: one of them. Pure."""

from collections.abc import Sequence
from typing import Protocol

from lft_ray.errors import ConfigError
from lft_ray.plugins import resolve
from lft_ray.records import FrontPoint
from lft_ray.run.ledger import trial_order
from lft_ray.selection import POLICIES

__all__ = ["Policy", "best_f1", "cheapest_within", "choose"]

FLOAT_TOLERANCE = 1e-9
"""Slack of an F1 comparison: 0.920 - 0.005 is not 0.915 in binary floating point."""


class Policy(Protocol):
    """A rule that picks one point. ``selection.policy: package.module:name`` names a policy of your own."""

    def __call__(self, points: Sequence[FrontPoint], *, margin: float) -> FrontPoint:
        """Return one of ``points`` (at least one); ``margin`` is ``selection.margin`` as a fraction of F1."""


def cheapest_within(points: Sequence[FrontPoint], *, margin: float) -> FrontPoint:
    """The cheapest point whose F1 is at most ``margin`` below the best; ties go to the higher F1, then to the
    earlier trial.
    """
    floor = max(p.f1 for p in points) - margin - FLOAT_TOLERANCE
    return min((p for p in points if p.f1 >= floor), key=_cost)


def best_f1(points: Sequence[FrontPoint], *, margin: float = 0.0) -> FrontPoint:
    """The point of highest F1; ties go to the cheaper point, then to the earlier trial."""
    return min(points, key=lambda p: (-p.f1, p.usd_per_million_predictions, trial_order(p.trial_id)))


def choose(policy: str, points: Sequence[FrontPoint], *, margin: float) -> FrontPoint:
    """Apply a policy, given by name or dotted path.

    Raises:
        ConfigError: the policy is unknown, or returns something that is not one of the points.
    """
    rule: Policy = resolve(policy, POLICIES, where="selection.policy")
    chosen = rule(points, margin=margin)
    if chosen not in points:
        raise ConfigError(
            f"{policy!r} at selection.policy returned {chosen!r}, which is not one of the {len(points)} points given",
            fix="return one of the points unchanged",
        )
    return chosen


def _cost(point: FrontPoint) -> tuple[float, float, tuple[str, int]]:
    return (point.usd_per_million_predictions, -point.f1, trial_order(point.trial_id))
