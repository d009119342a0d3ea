"""Asynchronous successive halving on serving cost and F1. In: `TrialSnapshot`. Out: a reason, "" to continue."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lft_ray.errors import ConfigError
from lft_ray.records import CurvePoint, TrialConfig
from lft_ray.search.stopping.base import (
    StopRule,
    TrialSnapshot,
    check_fractions,
    extended_curve,
    f1_at,
    is_decision_point,
    runs_to_the_end,
)

__all__ = ["mo_asha"]


def mo_asha(
    seed: int, *, eta: float = 3.0, rungs: Sequence[float] = (1 / 9, 1 / 3), probe_share: float = 0.0
) -> StopRule:
    """Asynchronous successive halving on (serving cost, F1), within octaves of serving cost.

    At a rung a trial continues if it is among the best ``1 / eta`` of the trials evaluated there, itself included,
    whose serving cost is in the same octave (Li et al. 2020), ranked by non-dominated sorting, then by F1 (Schmucker et
    al. 2021). A trial that is not dominated at its rung always continues, and no trial is stopped before ``eta`` trials
    were evaluated there. Strata protect cheap models, whose F1 is lower: they compete only with models of similar cost.
    Needs no calibration and guarantees no error rate.

    Args:
        seed: seed of the draw of probe trials.
        eta: reduction factor: one in ``eta`` trials continues.
        rungs: fractions of the schedule; a trial is judged at its first evaluation at or after each, never at its end.
        probe_share: fraction of trials that are never stopped.

    Raises:
        ConfigError: an option is out of range.
    """
    check_fractions(rungs, "rungs")
    if eta <= 1.0:
        raise ConfigError(f"eta is {eta}: expected above 1", fix="3 is the default: one in three continues")
    return _MoAsha(seed, eta, tuple(rungs), probe_share)


@dataclass(frozen=True, slots=True)
class _MoAsha:
    seed: int
    eta: float
    rungs: tuple[float, ...]
    probe_share: float

    def __call__(self, snapshot: TrialSnapshot, /) -> str:
        trial, curve = snapshot.trial, snapshot.curve
        if (
            trial.start
            or not is_decision_point(curve, self.rungs)
            or runs_to_the_end(self.seed, trial.trial_id, self.probe_share)
        ):
            return ""
        cost, now = snapshot.known_cost(trial.config), curve[-1]
        peers = [
            (other, f1)
            for config, points in _others(snapshot)
            if _octave(other := snapshot.known_cost(config)) == _octave(cost)
            and (f1 := f1_at(points, now.fraction)) is not None
        ]
        seen = len(peers) + 1
        if seen < self.eta:
            return ""
        survivors = max(1, math.floor(seen / self.eta))
        rank = _ranks([(cost, now.f1), *peers])
        ahead = sum(
            other < rank[0] or (other == rank[0] and f1 > now.f1)
            for other, (_, f1) in zip(rank[1:], peers, strict=True)
        )
        if rank[0] == 0 or ahead < survivors:
            return ""
        return (
            f"behind at {now.fraction:.0%} of its schedule: {now.f1:.3f} F1 is rank {ahead + 1} of {seen} "
            f"at its serving cost, {survivors} continue"
        )


def _others(snapshot: TrialSnapshot) -> Iterator[tuple[TrialConfig, Sequence[CurvePoint]]]:
    for record in snapshot.ended:
        yield record.config, extended_curve(record, snapshot.curve[-1].fraction)
    for trial, curve in snapshot.live.values():
        yield trial.config, curve


def _octave(usd: float) -> int:
    return math.floor(math.log2(max(usd, 1e-12)))


def _ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """Non-dominated rank of (cost, F1) points: 0 is the Pareto front, 1 the front of the remaining points, ..."""
    cost, f1 = np.array(points).T
    no_worse = (cost[:, None] <= cost) & (f1[:, None] >= f1)
    beats = no_worse & ((cost[:, None] < cost) | (f1[:, None] > f1))
    ranks, left = np.zeros(len(points), int), np.ones(len(points), bool)
    while left.any():
        dominated = (beats & left[:, None]).any(axis=0)
        left &= dominated
        ranks[left] += 1
    return [int(rank) for rank in ranks]
