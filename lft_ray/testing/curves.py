"""Made-up learning curves, and what a stop rule is asked about them. Values only; nothing is trained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialRecord, TrialStatus
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.stopping.base import TrialSnapshot

__all__ = [
    "COSTS",
    "THIRDS",
    "config",
    "draw",
    "draws",
    "ended",
    "known_cost",
    "peers",
    "points",
    "standing",
    "standings",
]

THIRDS = (1 / 3, 2 / 3, 1.0)
"""Fractions of the schedule at which every trial is evaluated."""
COSTS = {"tiny:1": 2.0, "tiny:2": 3.0, "tiny:4": 5.0, "tiny:6": 7.0}
"""Model size -> dollars per million predictions."""


def known_cost(config: TrialConfig) -> float:
    """Dollars per million predictions of a configuration."""
    return COSTS[config.model_size]


def config(size: str = "tiny:6", *, epochs: int = 2, method: str = "full") -> TrialConfig:
    """The configuration of a trial."""
    return TrialConfig(model_size=size, method=method, learning_rate=2e-4, batch_size=16, epochs=epochs)


def points(scores: Sequence[float], fractions: Sequence[float] = THIRDS) -> list[CurvePoint]:
    """A curve with these F1 at these fractions of the schedule; it ends with the shorter of the two."""
    return [CurvePoint(fraction=at, f1=f1, loss=1.0, train_s=at) for at, f1 in zip(fractions, scores, strict=False)]


def draws(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Curves at thirds: saturating, noisy, with a bump at the end as the learning rate falls."""
    final = 0.92 - np.abs(rng.normal(0, 0.05, (count, 1)))
    lost = np.exp(rng.normal(-1.2, 0.6, (count, 1))) * (1.0 - final) * np.array([1.0, 0.45, 0.0])
    curves: list[list[float]] = np.clip(final - lost + rng.normal(0, 0.004, (count, 3)), 0.0, 1.0).tolist()
    return curves


def draw(rng: np.random.Generator) -> list[float]:
    """One curve at thirds."""
    return draws(rng, 1)[0]


def ended(
    number: int, scores: Sequence[float], size: str = "tiny:6", *, epochs: int = 2, method: str = "full", **more: Any
) -> TrialRecord:
    """The record of a trial that has ended: done with three scores, stopped with fewer.

    Args:
        number: of the trial.
        scores: F1 at thirds of the schedule.
        size: model size, a key of `COSTS`.
        epochs: of its configuration.
        method: of its configuration.
        more: fields of the record that differ.
    """
    curve = points(scores)
    done = len(curve) == len(THIRDS)
    made = config(size, epochs=epochs, method=method)
    variant = ScoredVariant(
        precision="fp32", max_length=128, f1=scores[-1], usd_per_million_predictions=known_cost(made)
    )
    fields: dict[str, Any] = {
        "trial_id": f"t{number:03d}",
        "attempt": 1,
        "config": made,
        "status": TrialStatus.DONE if done else TrialStatus.STOPPED,
        "curve": curve,
        "variants": [variant] if done else [],
    }
    return TrialRecord(**fields | more)


def standing(
    scores: Sequence[float],
    others: Sequence[TrialRecord] = (),
    *,
    size: str = "tiny:6",
    number: int = 500,
    live: Mapping[str, tuple[StartedTrial, Sequence[CurvePoint]]] | None = None,
    start: bool = False,
    **made: Any,
) -> TrialSnapshot:
    """What a rule sees when the last of these scores has just arrived.

    Args:
        scores: F1 at thirds of the schedule so far.
        others: trials that have ended.
        size: model size, a key of `COSTS`.
        number: of the running trial.
        live: other running trials.
        start: whether it is one of the trials that a search begins with.
        made: ``epochs`` or ``method`` of its configuration.
    """
    trial = StartedTrial(trial_id=f"t{number:03d}", number=number, config=config(size, **made), start=start)
    return TrialSnapshot(trial, points(scores), others, live or {}, known_cost)


def peers() -> list[TrialRecord]:
    """60 finished trials of all sizes; the more expensive a size, the better it is."""
    rng = np.random.default_rng(3)
    sizes = sorted(COSTS)
    return [ended(i, [f1 - 0.1 + COSTS[sizes[i % 4]] / 100 for f1 in draw(rng)], sizes[i % 4]) for i in range(60)]


def standings(others: Sequence[TrialRecord], count: int = 200) -> Iterator[TrialSnapshot]:
    """Running trials of all sizes after one or two thirds of their schedule."""
    rng = np.random.default_rng(4)
    for number in range(500, 500 + count):
        size = sorted(COSTS)[number % 4]
        yield standing(draw(rng)[: 1 + number % 2], others, size=size, number=number)
