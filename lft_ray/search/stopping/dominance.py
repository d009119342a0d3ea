"""Early stopping of dominated trials, with a bounded error rate. In: a `TrialSnapshot`. Out: a reason, "" to continue.

Pure and deterministic: a rule has no state that cannot be rebuilt from the ledger, derives its random draws from the
seed and the trial's number, and never uses Ray, Optuna or a clock. Serving cost is known before training, so a rule
only has to predict F1. Trials of the start table are never stopped: they are the reference for the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.errors import ConfigError
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import trial_order
from lft_ray.search.stopping.base import (
    TOLERANCE,
    FullCurve,
    StopRule,
    TrialSnapshot,
    check_fractions,
    is_decision_point,
    runs_to_the_end,
)

__all__ = ["dominance"]

SAME_COST = 1e-9
"""Relative difference below which two serving costs count as equal."""


def dominance(
    seed: int,
    *,
    alpha: float = 0.1,
    decision_points: Sequence[float] = (1 / 3, 2 / 3),
    delta: float = 0.0,
    seed_sd: float = 0.006,
    probe_share: float = 0.1,
    library: Sequence[FullCurve] = (),
) -> StopRule:
    """Stop a trial whose final F1 will be below that of a model with the same or lower serving cost.

    The final F1 is bounded from above by a split conformal quantile (Vovk et al. 2005; Lei et al. 2018): of the ratios
    final error / lowest error so far of n full curves, take the floor(a (n + 1))-th smallest. If the trial's curve is
    exchangeable with them, its final F1 exceeds the bound with probability at most ``a = alpha / k`` at each of k
    decision points, so a trial that would have been better is stopped with probability at most ``alpha``.

    Full curves are those that no rule could have stopped, because survivors of early stopping are better than the
    trials judged by them: the library, start trials, probes, and the first trials of a method until there are enough.
    With fewer than ``k / alpha - 1`` of them (19) no trial is stopped. Only curves of the same method are used, at the
    same fraction of the schedule, and of the same number of epochs if there are enough.

    Args:
        seed: seed of the draw of probe trials.
        alpha: maximum fraction of trials that are stopped wrongly.
        decision_points: fractions of the schedule; a trial is judged at its first evaluation at or after each, never at
            its end.
        delta: F1 by which a trial must be expected to beat the best model of the same or lower cost; 0: any gain.
        seed_sd: F1 subtracted from that model's score, since another seed may score lower (0.3 to 1 point).
        probe_share: fraction of trials that are never stopped.
        library: recorded full curves.

    Raises:
        ConfigError: an option is out of range.
    """
    check_fractions(decision_points, "decision_points")
    if not 0.0 < alpha < 1.0:
        raise ConfigError(f"alpha is {alpha}: expected above 0 and below 1", fix="0.1 is the default")
    return _Dominance(
        seed, alpha / len(decision_points), tuple(decision_points), delta, seed_sd, probe_share, tuple(library)
    )


@dataclass(frozen=True, slots=True)
class _Dominance:
    seed: int
    level: float
    decision_points: tuple[float, ...]
    delta: float
    seed_sd: float
    probe_share: float
    library: tuple[FullCurve, ...]

    def __call__(self, snapshot: TrialSnapshot, /) -> str:
        trial, curve = snapshot.trial, snapshot.curve
        if trial.start or not is_decision_point(curve, self.decision_points) or self._is_probe(trial.trial_id):
            return ""
        incumbent = _best_at_same_or_lower_cost(snapshot)
        if incumbent is None:
            return ""
        incumbent_f1, incumbent_id = incumbent
        bound = self._bound(snapshot)
        if bound >= incumbent_f1 - self.seed_sd + self.delta:
            return ""
        return (
            f"dominated: at most {bound:.3f} F1 expected ({1.0 - self.level:.0%}), "
            f"{incumbent_f1:.3f} is reached at the same or lower serving cost by {incumbent_id}"
        )

    def _bound(self, snapshot: TrialSnapshot) -> float:
        """Upper bound of the final F1; infinite while there are too few full curves."""
        fraction = snapshot.curve[-1].fraction
        ratios = sorted(ratio for c in self._calibration(snapshot) if (ratio := c.error_ratio(fraction)) is not None)
        position = self._position(len(ratios))
        if position < 1:
            return math.inf
        best = max(point.f1 for point in snapshot.curve if point.fraction > TOLERANCE)
        # A quantile above 1 means that curves tend to fall; the bound is still never below the best F1 reached so far.
        return 1.0 - (1.0 - best) * min(1.0, ratios[position - 1])

    def _calibration(self, snapshot: TrialSnapshot) -> list[FullCurve]:
        """Full curves for the quantile; empty for a trial that is itself part of the calibration set."""
        config, mine = snapshot.trial.config, trial_order(snapshot.trial.trial_id)
        curves = [c for c in self.library if c.method == config.method]
        before = len(curves)
        for record in sorted(snapshot.ended, key=lambda r: trial_order(r.trial_id)):
            full = FullCurve.of(record)
            if full is None or full.method != config.method:
                continue
            # Trials up to here ran while no trial could be stopped, so they are not selected by early stopping.
            if record.start or self._position(len(curves)) < 1 or self._is_probe(record.trial_id):
                curves.append(full)
                before += trial_order(record.trial_id) < mine
        if self._position(before) < 1:
            return []
        same_epochs = [c for c in curves if c.epochs == config.epochs]
        return same_epochs if self._position(len(same_epochs)) >= 1 else curves

    def _position(self, n: int) -> int:
        """Rank (from 1) of the quantile among n sorted ratios; 0 if n is too small."""
        return math.floor(self.level * (n + 1) + 1e-9)

    def _is_probe(self, trial_id: str) -> bool:
        return runs_to_the_end(self.seed, trial_id, self.probe_share)


def _best_at_same_or_lower_cost(snapshot: TrialSnapshot) -> tuple[float, str] | None:
    """F1 and trial ID of the best finished variant that costs no more to serve than the trial's cheapest variant."""
    limit = snapshot.known_cost(snapshot.trial.config) * (1.0 + SAME_COST)
    points = []
    for record in snapshot.ended:
        if record.status is not TrialStatus.DONE:
            continue
        cheapest = snapshot.known_cost(record.config)
        for variant in record.variants:
            usd = cheapest if variant.usd_per_million_predictions is None else variant.usd_per_million_predictions
            # A variant cheaper than the cheapest admitted one violates a cap, so it cannot win and dominates nothing.
            if cheapest * (1.0 - SAME_COST) <= usd <= limit:
                points.append((variant.f1, record.trial_id))
    return max(points, default=None)
