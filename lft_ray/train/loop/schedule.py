"""How the learning rate changes over a run: warm-up, then linear, cosine, or constant until a last decay. Pure values.

In: a kind and step counts. Out: a factor of the peak rate for every step, and what weight decay leaves of a weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import EarlyStoppingSpec

__all__ = ["DECAY_SHARE", "Schedule", "stops_early"]


def stops_early(scores: Sequence[float], spec: EarlyStoppingSpec | None) -> bool:
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


DECAY_SHARE = 0.2
"""Share of the steps over which ``warmup_stable_decay`` falls to zero: 10 to 20% matched cosine at every length in
Haegele et al. 2024 (arXiv 2405.18392)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning-rate factors of one run.

    Attributes:
        kind: linear, cosine or warmup_stable_decay.
        per_epoch: optimiser steps of an epoch.
        total: optimiser steps of the run.
        rising: steps over which the rate rises; fewer than ``total``.
    """

    kind: str
    per_epoch: int
    total: int
    rising: int

    @classmethod
    def of(cls, training: TrainingSpec, *, rows: int, batch_size: int, epochs: int) -> Self:
        """The schedule of a run over ``rows`` texts."""
        per_epoch = -(-rows // batch_size)
        total = per_epoch * epochs
        # A share of the first epoch, so that a run of more epochs begins as a shorter one does: until the shorter
        # one's decay, they are the same run.
        warmed = per_epoch if training.schedule == "warmup_stable_decay" else total
        return cls(training.schedule, per_epoch, total, min(total - 1, round(warmed * training.warmup)))

    def factor(self, step: int) -> float:
        """Share of the peak rate at ``step``, counted from 0; above 0 at every step of the run."""
        if step < self.rising:
            return (step + 1) / (self.rising + 1)
        left = (self.total - step) / (self.total - self.rising)
        if self.kind == "cosine":
            return 0.5 * (1.0 - math.cos(math.pi * left))
        if self.kind == "warmup_stable_decay":
            falling = max(1, min(self.total - self.rising, round(self.total * DECAY_SHARE)))
            return min(1.0, (self.total - step) / falling)
        return left

    def decay_left(self, peak: float, weight_decay: float, steps: int | None = None) -> float:
        """What a run leaves of a weight that never has a gradient.

        AdamW multiplies by 1 - rate x decay a step (Loshchilov & Hutter 2019, arXiv 1711.05101).

        Args:
            peak: highest learning rate.
            weight_decay: of the weight's group.
            steps: that were taken; all of the schedule when left out.
        """
        taken = self.total if steps is None else steps
        return math.prod(1.0 - peak * self.factor(step) * weight_decay for step in range(taken))
