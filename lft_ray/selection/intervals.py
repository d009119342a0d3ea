"""Intervals of every F1 that is shown, and whether test and validation agree. In: records, predictions. Out: numbers.

One method everywhere: two-sided 95%, bootstrap over the rows of the split, within the task's strata (with several
seeds, over the seeds too). Never influences the choice.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TypeVar

from lft_ray.records import FrontPoint, Interval, Selection, TrialRecord
from lft_ray.selection.evidence import F1_TOLERANCE, Evidence, Key
from lft_ray.selection.significance import TWO_SIDED

__all__ = ["METHOD", "agreement_sentence", "f1_intervals", "interval_key", "interval_of", "with_intervals"]

METHOD = "95% interval: bootstrap over the rows of the split, stratified by label"
Point = TypeVar("Point", bound=FrontPoint)


def interval_key(trial_id: str, precision: str, max_length: int) -> str:
    """Key of `Selection.f1_intervals`: ``t001/fp32/128``."""
    return f"{trial_id}/{precision}/{max_length}"


def f1_intervals(records: Sequence[TrialRecord], evidence: Evidence | None) -> dict[str, Interval]:
    """Interval of the validation F1 of every variant whose saved predictions reproduce it.

    Args:
        records: finished runs, confirmation runs included.
        evidence: their predictions; None: none were saved.
    """
    if evidence is None:
        return {}
    recorded: dict[Key, float] = {
        (r.trial_id, v.precision, v.max_length): v.f1 for r in records for v in r.variants if math.isfinite(v.f1)
    }
    keys = [key for key in evidence.answers if key in recorded]
    if not keys:
        return {}
    found = evidence.scores(keys)
    keys = [key for key, f1 in zip(keys, found, strict=True) if abs(f1 - recorded[key]) <= F1_TOLERANCE]
    if not keys:
        return {}
    return {interval_key(*key): ends for key, ends in zip(keys, evidence.intervals(keys), strict=True)}


def interval_of(intervals: Mapping[str, Interval], point: FrontPoint) -> Interval | None:
    """Interval of the search score of a point."""
    return intervals.get(interval_key(point.trial_id, point.precision, point.max_length))


def with_intervals(points: Sequence[Point], intervals: Mapping[str, Interval]) -> list[Point]:
    """The points with the intervals of their search scores; those that have one keep it."""
    return [p if p.f1_interval else p.replace(f1_interval=interval_of(intervals, p)) for p in points]


def agreement_sentence(selection: Selection, metric_name: str) -> str:
    """Whether the test score of the shipped checkpoint is what its validation score promised; empty without a test.

    The two splits are independent, so the standard errors, read off the intervals, add up in squares. Near a score of 1
    or 0 an interval has one short side, which says nothing about the error: the longer side counts.
    """
    test, validation = selection.test_f1, selection.checkpoint_f1
    test_ends, validation_ends = selection.test_f1_interval, selection.checkpoint_f1_interval
    if test is None or validation is None:
        return ""
    name = f"checkpoint {selection.winner_seed_trial_id}"
    texts = [
        f"test {metric_name} of {name} {_with_ends(test, test_ends)}, {selection.test_rows:,} rows",
        f"its validation {metric_name} {_with_ends(validation, validation_ends)}",
    ]
    if test_ends is None or validation_ends is None:
        return _sentence(f"{texts[0]}; {texts[1]}; no interval could be computed")
    reach = NormalDist().inv_cdf(TWO_SIDED)
    scored = ((test, test_ends), (validation, validation_ends))
    error = math.hypot(*(max(high - f1, f1 - low) / reach for f1, (low, high) in scored))
    gap = test - validation
    if abs(gap) <= reach * error:
        return _sentence(f"{texts[0]}, agrees with {texts[1]}")
    side = "below" if gap < 0 else "above"
    return _sentence(
        f"{texts[0]}, is {abs(gap) * 100:.1f} points {side} {texts[1]}: more than chance explains (95%), so the two "
        "splits differ" + (", or the choice has fitted the validation rows" if gap < 0 else "")
    )


def _with_ends(value: float, ends: Interval | None) -> str:
    return f"{value:.3f}" if ends is None else f"{value:.3f} (95% {ends[0]:.3f} to {ends[1]:.3f})"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
