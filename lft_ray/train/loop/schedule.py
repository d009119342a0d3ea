"""Schedule of a training run: the learning rate of each step, and early stopping. Pure values.

In: schedule kind and step counts; F1 of the validation passes. Out: the factor of the peak learning rate at each step
(warm-up, then linear, cosine, or constant until a final decay), the cumulative effect of weight decay, and whether the
run stops early. Never touches a weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import EarlyStoppingSpec

__all__ = ["DECAY_SHARE", "Schedule", "stops_early"]


DECAY_SHARE = 0.2
"""Share of the steps over which ``warmup_stable_decay`` decays to zero: 10 to 20% matched cosine at every length in
Haegele et al. 2024 (arXiv 2405.18392)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning-rate factors of one run.

    Attributes:
        kind: "linear", "cosine" or "warmup_stable_decay".
        per_epoch: optimiser steps per epoch.
        total: optimiser steps in the whole run.
        warmup_steps: optimiser steps of the warm-up; fewer than ``total``.
    """

    kind: str
    per_epoch: int
    total: int
    warmup_steps: int

    @classmethod
    def of(cls, training: TrainingSpec, *, rows: int, batch_size: int, epochs: int) -> Self:
        """Schedule of a run over ``rows`` texts per epoch."""
        per_epoch = -(-rows // batch_size)
        total = per_epoch * epochs
        # For warmup_stable_decay a share of the first epoch, so that runs of different lengths are identical until the
        # shorter one starts to decay.
        span = per_epoch if training.schedule == "warmup_stable_decay" else total
        return cls(training.schedule, per_epoch, total, min(total - 1, round(span * training.warmup)))

    def factor(self, step: int) -> float:
        """Factor of the peak learning rate at ``step``, counted from 0; above 0 at every step of the run."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        left = (self.total - step) / (self.total - self.warmup_steps)
        if self.kind == "cosine":
            return 0.5 * (1.0 - math.cos(math.pi * left))
        if self.kind == "warmup_stable_decay":
            decay_steps = max(1, min(self.total - self.warmup_steps, round(self.total * DECAY_SHARE)))
            return min(1.0, (self.total - step) / decay_steps)
        return left

    def decay_factor(self, peak: float, weight_decay: float, steps: int | None = None) -> float:
        """Factor by which a run shrinks a weight that never has a gradient.

        AdamW multiplies by 1 - learning rate x decay at each step (Loshchilov & Hutter 2019, arXiv 1711.05101).

        Args:
            peak: peak learning rate.
            weight_decay: weight decay of the weight's parameter group.
            steps: number of steps taken; default: the whole schedule.
        """
        taken = self.total if steps is None else steps
        return math.prod(1.0 - peak * self.factor(step) * weight_decay for step in range(taken))


def stops_early(scores: Sequence[float], spec: EarlyStoppingSpec | None) -> bool:
    """Whether none of the last ``spec.patience`` scores improved on the best score before it.

    Args:
        scores: F1 of each validation pass since training began, in order.
        spec: patience, and the smallest gain that counts as an improvement; None: no early stopping.
    """
    if spec is None:
        return False
    best, waited = float("-inf"), 0
    for f1 in scores:
        if f1 > best + spec.min_delta:
            best, waited = f1, 0
        else:
            waited += 1
    return waited >= spec.patience
