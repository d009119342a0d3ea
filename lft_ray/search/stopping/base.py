"""Interface of early-stopping rules, and functions on learning curves. Values and pure functions; no Ray, no clock."""

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
    "extended_curve",
    "f1_at",
    "is_decision_point",
    "never",
    "runs_to_the_end",
]  # fmt: skip

TOLERANCE = 0.02
"""Fractions of the schedule this close count as equal: evaluations fall on whole optimiser steps."""


@dataclass(frozen=True, slots=True)
class TrialSnapshot:
    """The input of a rule when a new point of a running trial's curve arrives.

    Attributes:
        trial: the running trial.
        curve: points so far, one per fraction, the new one last (fraction 0 is the linear probe on the frozen encoder).
        ended: search trials that have ended, with any status.
        live: trial ID -> (trial, points) of the other running trials.
        known_cost: dollars per million predictions of a configuration's cheapest admitted variant.
    """

    trial: StartedTrial
    curve: Sequence[CurvePoint]
    ended: Sequence[TrialRecord]
    live: Mapping[str, tuple[StartedTrial, Sequence[CurvePoint]]]
    known_cost: Callable[[TrialConfig], float]


class StopRule(Protocol):
    """Decides at one point of its curve whether a trial is stopped."""

    def __call__(self, snapshot: TrialSnapshot, /) -> str:
        """Return why the trial is stopped here, as a message for the user; "" to continue."""


@cache
def runs_to_the_end(seed: int, trial_id: str, share: float) -> bool:
    """Whether a trial is a probe, which is never stopped: an unbiased sample of full curves."""
    return bool(np.random.default_rng([seed, trial_order(trial_id)[1]]).random() < share)


@dataclass(frozen=True, slots=True)
class FullCurve:
    """The learning curve of a finished trial that no rule could have stopped.

    Attributes:
        method: training method; curves of different methods are not compared.
        epochs: passes over the training data.
        points: (fraction, F1) of the evaluations without the linear probe; the last is at fraction 1.
    """

    method: str
    epochs: int | None
    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, record: TrialRecord) -> "FullCurve | None":
        """The curve of a finished trial; None if it did not finish or was evaluated only at its end.

        After early stopping on a plateau, the last score is extended to the end of the schedule: it is the final score.
        """
        found = {p.fraction: p.f1 for p in extended_curve(record, 1.0) if p.fraction > TOLERANCE}
        points = tuple(sorted(found.items()))
        if record.status is not TrialStatus.DONE or len(points) < 2 or points[-1][0] < 1.0 - TOLERANCE:
            return None
        return cls(record.config.method, record.config.epochs, points)

    def error_ratio(self, fraction: float) -> float | None:
        """Final error (1 - F1) divided by the lowest error up to a fraction; None if not evaluated by then.

        The curve is interpolated linearly between evaluations, so that one library fits any number of evaluations.
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


def extended_curve(record: TrialRecord, fraction: float) -> Sequence[CurvePoint]:
    """The curve of an ended trial; after early stopping the last score is extended to ``fraction``."""
    last = record.curve[-1] if record.curve else None
    if record.status is not TrialStatus.DONE or last is None or last.fraction >= fraction - TOLERANCE:
        return record.curve
    return [*record.curve, last.replace(fraction=fraction)]


def f1_at(curve: Sequence[CurvePoint], fraction: float) -> float | None:
    """F1 at a fraction of the schedule; None if there was no evaluation."""
    found = [point.f1 for point in curve if abs(point.fraction - fraction) <= TOLERANCE]
    return found[-1] if found else None


def is_decision_point(curve: Sequence[CurvePoint], fractions: Sequence[float]) -> bool:
    """Whether the last point is the first at or after one of the fractions, excluding the linear probe and the end."""
    *before, now = [point.fraction for point in curve]
    if now <= TOLERANCE or now >= 1.0 - TOLERANCE:
        return False
    reached = max(before, default=0.0)
    return any(reached < at - TOLERANCE <= now for at in fractions)


def check_fractions(fractions: Sequence[float], name: str) -> None:
    """Reject fractions at which no trial can be stopped.

    Raises:
        ConfigError: the list is empty, or a value is not between 0 and 1.
    """
    if not fractions or not all(0.0 < at < 1.0 for at in fractions):
        raise ConfigError(
            f"{name} are {list(fractions)}: expected fractions of the schedule above 0 and below 1",
            fix="for example 1/3 and 2/3, which are two of three evaluations",
        )


def never(seed: int = 0) -> StopRule:
    """No early stopping: every trial runs to the end of its schedule."""
    del seed
    return _go_on


def _go_on(snapshot: TrialSnapshot, /) -> str:
    del snapshot
    return ""
