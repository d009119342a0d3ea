"""When a running trial ends early: stop rules. In: a `TrialSnapshot`. Out: why the trial ends there, "" to go on.

Pure and deterministic: a rule keeps nothing that cannot be rebuilt from the ledger, draws its coins from the seed and
the trial's number, and never sees Ray, Optuna or a clock. What a trial would cost to serve is known before it is
trained, so a rule only has to judge F1. Trials of the start table are never stopped: they are what others are held to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.errors import ConfigError
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import trial_order
from lft_ray.search.stopping.asha import mo_asha
from lft_ray.search.stopping.base import (
    TOLERANCE,
    FullCurve,
    StopRule,
    TrialSnapshot,
    check_fractions,
    is_decision_point,
    runs_to_the_end,
)

__all__ = ["FullCurve", "StopRule", "TrialSnapshot", "dominance", "mo_asha", "never"]

SAME_COST = 1e-9
"""Relative difference below which two dollars per million predictions are equal."""


def never(seed: int = 0) -> StopRule:
    """Every trial runs to its end."""
    del seed
    return _go_on


def _go_on(standing: TrialSnapshot, /) -> str:
    del standing
    return ""


def dominance(
    seed: int,
    *,
    alpha: float = 0.1,
    looks: Sequence[float] = (1 / 3, 2 / 3),
    delta: float = 0.0,
    seed_sd: float = 0.006,
    probe_share: float = 0.1,
    library: Sequence[FullCurve] = (),
) -> StopRule:
    """Stop a trial that will end below a point that is served for no more, with a stated error rate.

    The final F1 is bounded from above by a split conformal quantile (Vovk et al. 2005; Lei et al. 2018): of the ratios
    final error / least error so far of n full curves, take the floor(a (n + 1))-th smallest. If the trial's curve is
    exchangeable with them, its final F1 is above the bound with probability at most ``a = alpha / looks`` a look, and
    so a trial that would have been better is stopped with probability at most ``alpha``.

    Full curves are those that no rule could have cut short, since survivors are better than what is judged by them:
    the library, start trials, probes, and the first trials of a method until there are enough. Below
    ``looks / alpha - 1`` of them (19) nothing is stopped. They are compared by method and by fraction of the schedule,
    and by epochs where enough share them.

    Args:
        seed: of the probe coins.
        alpha: largest share of trials that may be stopped wrongly.
        looks: fractions of the schedule at which a trial is judged, at its first evaluation there or after; never at
            its end.
        delta: F1 by which a trial must be expected to beat what is served for no more; 0: any.
        seed_sd: F1 taken off the point it is compared with: what another seed may give (0.3 to 1 point).
        probe_share: share of trials that are never stopped.
        library: recorded full curves.

    Raises:
        ConfigError: an option is out of range.
    """
    check_fractions(looks, "looks")
    if not 0.0 < alpha < 1.0:
        raise ConfigError(f"alpha is {alpha}: expected above 0 and below 1", fix="0.1 is the default")
    return _Dominance(seed, alpha / len(looks), tuple(looks), delta, seed_sd, probe_share, tuple(library))


@dataclass(frozen=True, slots=True)
class _Dominance:
    seed: int
    level: float
    looks: tuple[float, ...]
    delta: float
    seed_sd: float
    probe_share: float
    library: tuple[FullCurve, ...]

    def __call__(self, standing: TrialSnapshot, /) -> str:
        trial, curve = standing.trial, standing.curve
        if trial.start or not is_decision_point(curve, self.looks) or self._is_probe(trial.trial_id):
            return ""
        rival = _best_for_no_more(standing)
        if rival is None:
            return ""
        rival_f1, rival_id = rival
        bound = self._bound(standing)
        if bound >= rival_f1 - self.seed_sd + self.delta:
            return ""
        return (
            f"dominated: at most {bound:.3f} F1 expected ({1.0 - self.level:.0%}), "
            f"{rival_f1:.3f} is served for no more by {rival_id}"
        )

    def _bound(self, standing: TrialSnapshot) -> float:
        """Upper bound of the final F1; infinite while there are too few curves to tell."""
        fraction = standing.curve[-1].fraction
        ratios = sorted(ratio for c in self._calibration(standing) if (ratio := c.error_left(fraction)) is not None)
        position = self._position(len(ratios))
        if position < 1:
            return math.inf
        best = max(point.f1 for point in standing.curve if point.fraction > TOLERANCE)
        # A quantile above 1 says that curves fall; what the trial has now is still not held against it.
        return 1.0 - (1.0 - best) * min(1.0, ratios[position - 1])

    def _calibration(self, standing: TrialSnapshot) -> list[FullCurve]:
        """Full curves to judge a trial by; none for a trial that is one of them."""
        config, mine = standing.trial.config, trial_order(standing.trial.trial_id)
        curves = [c for c in self.library if c.method == config.method]
        before = len(curves)
        for record in sorted(standing.ended, key=lambda r: trial_order(r.trial_id)):
            full = FullCurve.of(record)
            if full is None or full.method != config.method:
                continue
            # Trials up to here ran while no trial could be stopped, whatever its curve: they were not selected.
            if record.start or self._position(len(curves)) < 1 or self._is_probe(record.trial_id):
                curves.append(full)
                before += trial_order(record.trial_id) < mine
        if self._position(before) < 1:
            return []
        alike = [c for c in curves if c.epochs == config.epochs]
        return alike if self._position(len(alike)) >= 1 else curves

    def _position(self, n: int) -> int:
        """Which of n sorted ratios is the quantile, from 1; 0 with too few."""
        return math.floor(self.level * (n + 1) + 1e-9)

    def _is_probe(self, trial_id: str) -> bool:
        return runs_to_the_end(self.seed, trial_id, self.probe_share)


def _best_for_no_more(standing: TrialSnapshot) -> tuple[float, str] | None:
    """F1 and trial id of the best finished point that is served for no more than the trial's cheapest variant."""
    limit = standing.known_cost(standing.trial.config) * (1.0 + SAME_COST)
    points = []
    for record in standing.ended:
        if record.status is not TrialStatus.DONE:
            continue
        least = standing.known_cost(record.config)
        for variant in record.variants:
            usd = least if variant.usd_per_million_predictions is None else variant.usd_per_million_predictions
            # A variant below the cheapest admitted one breaks a cap: it may not win, so it dominates nothing.
            if least * (1.0 - SAME_COST) <= usd <= limit:
                points.append((variant.f1, record.trial_id))
    return max(points, default=None)
