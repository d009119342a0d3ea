"""Train all for one epoch, then the best of each size on the long schedule (arXiv:2307.15422, applied per size)."""

import random
from collections import defaultdict
from typing import Literal

from lft_ray.records import CurvePoint, TrialConfig

from .clock import Started
from .start import Given
from .table import Curve

__all__ = ["OneEpochTopK"]

RATES = 3
"""New learning rates per size and round, drawn from the recorded ones without replacement."""
PROMOTED = 1
"""Trials of each size promoted to the long schedule after each round."""


class OneEpochTopK:
    """Rounds of short trials, then the best of them at the longest schedule, until the rates are used up.

    Args:
        given: space, start table and costs. The start table is part of the first round.
        seed: of the draws.
    """

    def __init__(self, given: Given, *, seed: int) -> None:
        self.suggestion_s: list[float] = []
        self.given = given
        rng = random.Random(seed)
        self._short, self._long = min(given.table.epochs), max(given.table.epochs)
        started = {(c.model_size, c.learning_rate) for c in given.start}
        self._rates = {
            size: [r for r in rng.sample(given.table.rates, len(given.table.rates)) if (size, r) not in started]
            for size in given.networks
        }
        self._queue = list(given.start)
        self._phase: Literal["short", "long"] = "short"
        self._add_rates()
        self._live: dict[str, TrialConfig] = {}
        self._scores: dict[str, dict[float, float]] = defaultdict(dict)
        self._promoted: set[tuple[str, float]] = set()
        self._count = 0

    def next(self) -> Started | Literal["wait", "finished"]:
        """The next trial of the round; a new round starts when all trials of this one have ended."""
        if not self._queue:
            if self._live:
                return "wait"
            self._turn()
            if not self._queue:
                return "finished"
        trial_id = f"t{self._count:03d}"
        self._count += 1
        self._live[trial_id] = self._queue.pop(0)
        return Started(trial_id, self._live[trial_id])

    def point(self, trial_id: str, point: CurvePoint) -> str:
        """Never stops a trial."""
        del trial_id, point
        return ""

    def end(self, trial_id: str, curve: Curve, *, points: int, reason: str) -> None:
        """Record the score of a short trial."""
        del points, reason
        config = self._live.pop(trial_id)
        if config.learning_rate is not None and config.epochs == self._short and curve.is_done:
            self._scores[config.model_size][config.learning_rate] = float(curve.f1[-1])

    def close(self) -> None:
        """Nothing to close."""

    def _turn(self) -> None:
        if self._phase == "short" and self._long > self._short:
            self._phase = "long"
            for size in self.given.networks:
                left = {r: f1 for r, f1 in self._scores[size].items() if (size, r) not in self._promoted}
                for rate in sorted(left, key=lambda r: -left[r])[:PROMOTED]:
                    self._promoted.add((size, rate))
                    self._queue.append(self._config(size, rate, self._long))
        else:
            self._phase = "short"
            self._add_rates()

    def _add_rates(self) -> None:
        for size, rates in self._rates.items():
            self._queue += [self._config(size, rate, self._short) for rate in rates[:RATES]]
            del rates[:RATES]

    def _config(self, size: str, rate: float, epochs: int) -> TrialConfig:
        table = self.given.table
        return TrialConfig(
            model_size=size,
            learning_rate=rate,
            batch_size=table.batches[len(table.batches) // 2],
            epochs=epochs,
            max_length=table.max_length,
        )
