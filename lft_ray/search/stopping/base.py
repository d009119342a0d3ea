"""What a stop rule sees of a running trial, and how it reads curves. Values and pure functions; no Ray, no clock."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from lft_ray.errors import ConfigError
from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, TrialStatus
from lft_ray.run.ledger import StartedTrial, trial_order

__all__ = [
    "TOLERANCE",
    "FullCurve",
    "StopRule",
    "TrialSnapshot",
    "check_fractions",
    "f1_at",
    "held",
    "is_decision_point",
    "runs_to_the_end",
]  # fmt: skip

TOLERANCE = 0.02
"""Fractions of the schedule this close are the same: evaluations fall on whole optimiser steps."""


@dataclass(frozen=True, slots=True)
class TrialSnapshot:
    """All a rule may know when a point of a running trial's curve arrives.

    Attributes:
        trial: the running trial.
        curve: its points so far, one a fraction, the new one last (fraction 0 is the frozen probe).
        ended: search trials that have ended, with any status.
        live: the other running trials and their points, by trial id.
        known_cost: dollars per million predictions of a configuration's cheapest admitted variant.
    """

    trial: StartedTrial
    curve: Sequence[CurvePoint]
    ended: Sequence[TrialRecord]
    live: Mapping[str, tuple[StartedTrial, Sequence[CurvePoint]]]
    known_cost: Callable[[TrialConfig], float]


class StopRule(Protocol):
    """Decides about one trial at one point of its curve."""

    def __call__(self, standing: TrialSnapshot, /) -> str:
        """Why the trial ends here, in words for the user; "" to go on."""


@cache
def runs_to_the_end(seed: int, trial_id: str, share: float) -> bool:
    """Whether a trial is never stopped, so that some full curves are not survivors. A coin of seed and number."""
    return bool(np.random.default_rng([seed, trial_order(trial_id)[1]]).random() < share)


@dataclass(frozen=True, slots=True)
class FullCurve:
    """A curve that ran to its end and that no rule could have cut short.

    Attributes:
        method: how it was trained; curves of different methods are not compared.
        epochs: passes over the training data.
        points: (fraction, F1) of the evaluations, the frozen probe left out; the last is at fraction 1.
    """

    method: str
    epochs: int | None
    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, record: TrialRecord) -> "FullCurve | None":
        """The curve of a finished trial; None if it did not finish or was evaluated at its end only.

        One that ended itself on a plateau has its last score from there on: that is what it came to.
        """
        found = {p.fraction: p.f1 for p in held(record, 1.0) if p.fraction > TOLERANCE}
        points = tuple(sorted(found.items()))
        if record.status is not TrialStatus.DONE or len(points) < 2 or points[-1][0] < 1.0 - TOLERANCE:
            return None
        return cls(record.config.method, record.config.epochs, points)

    def error_left(self, fraction: float) -> float | None:
        """Final error (1 - F1) over the least error up to a fraction; None if it was not evaluated by then.

        Between two evaluations the curve is a straight line, so that one library serves any number of evaluations.
        """
        if fraction + TOLERANCE < self.points[0][0]:
            return None
        seen = [(at, f1) for at, f1 in self.points if at <= fraction + TOLERANCE]
        best = max(f1 for _, f1 in seen)
        (left, low), (right, high) = seen[-1], self.points[min(len(seen), len(self.points) - 1)]
        if left < fraction - TOLERANCE < right:
            best = max(best, low + (high - low) * (fraction - left) / (right - left))
        final = self.points[-1][1]
        if best >= 1.0:
            return 0.0 if final >= 1.0 else math.inf
        return (1.0 - final) / (1.0 - best)


def held(record: TrialRecord, fraction: float) -> Sequence[CurvePoint]:
    """The curve of an ended trial; one that ended itself before ``fraction`` keeps its last score up to there."""
    last = record.curve[-1] if record.curve else None
    if record.status is not TrialStatus.DONE or last is None or last.fraction >= fraction - TOLERANCE:
        return record.curve
    return [*record.curve, last.replace(fraction=fraction)]


def f1_at(curve: Sequence[CurvePoint], fraction: float) -> float | None:
    """F1 at a fraction of the schedule; None if the curve was not evaluated there."""
    found = [point.f1 for point in curve if abs(point.fraction - fraction) <= TOLERANCE]
    return found[-1] if found else None


def is_decision_point(curve: Sequence[CurvePoint], fractions: Sequence[float]) -> bool:
    """Whether the last point is the first at or after one of the fractions; the frozen probe and the end never are."""
    *before, now = [point.fraction for point in curve]
    if now <= TOLERANCE or now >= 1.0 - TOLERANCE:
        return False
    reached = max(before, default=0.0)
    return any(reached < at - TOLERANCE <= now for at in fractions)


def check_fractions(fractions: Sequence[float], name: str) -> None:
    """Refuse fractions at which no trial can be stopped.

    Raises:
        ConfigError: there are none, or one is not between 0 and 1.
    """
    if not fractions or not all(0.0 < at < 1.0 for at in fractions):
        raise ConfigError(
            f"{name} are {list(fractions)}: expected fractions of the schedule above 0 and below 1",
            fix="1/3 and 2/3 are two of three evaluations",
        )
