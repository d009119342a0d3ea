"""Synthetic learning curves, and the trial snapshots that a stop rule receives for them.

In: a random generator or scores. Out: records and `TrialSnapshot` values. Never trains.
"""

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
"""Fractions of the schedule at which each trial is evaluated."""
COSTS = {"tiny:1": 2.0, "tiny:2": 3.0, "tiny:4": 5.0, "tiny:6": 7.0}
"""Model size -> dollars per million predictions."""


def known_cost(config: TrialConfig) -> float:
    """Return the serving cost of a configuration in dollars per million predictions."""
    return COSTS[config.model_size]


def config(size: str = "tiny:6", *, epochs: int = 2, method: str = "full") -> TrialConfig:
    """Return a configuration.

    Args:
        size: model size, a key of `COSTS`.
        epochs: number of epochs.
        method: training method.
    """
    return TrialConfig(model_size=size, method=method, learning_rate=2e-4, batch_size=16, epochs=epochs)


def points(scores: Sequence[float], fractions: Sequence[float] = THIRDS) -> list[CurvePoint]:
    """Return a learning curve with these F1 at these fractions of the schedule, as long as the shorter of the two."""
    return [CurvePoint(fraction=at, f1=f1, loss=1.0, train_s=at) for at, f1 in zip(fractions, scores, strict=False)]


def draws(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Draw curves at thirds of the schedule: saturating, noisy, with a rise at the end as the learning rate decays.

    Returns:
        ``count`` curves of three F1 each.
    """
    final = 0.92 - np.abs(rng.normal(0, 0.05, (count, 1)))
    lost = np.exp(rng.normal(-1.2, 0.6, (count, 1))) * (1.0 - final) * np.array([1.0, 0.45, 0.0])
    curves: list[list[float]] = np.clip(final - lost + rng.normal(0, 0.004, (count, 3)), 0.0, 1.0).tolist()
    return curves


def draw(rng: np.random.Generator) -> list[float]:
    """Draw one curve at thirds of the schedule."""
    return draws(rng, 1)[0]


def ended(
    number: int, scores: Sequence[float], size: str = "tiny:6", *, epochs: int = 2, method: str = "full", **more: Any
) -> TrialRecord:
    """Return the record of an ended trial: done with three scores, stopped with fewer.

    Args:
        number: number of the trial.
        scores: F1 at thirds of the schedule.
        size: model size, a key of `COSTS`.
        epochs: epochs of its configuration.
        method: training method of its configuration.
        more: other fields of the record.
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
    """Return the snapshot that a rule receives when the last of these scores has just been reported.

    Args:
        scores: F1 at thirds of the schedule so far.
        others: records of ended trials.
        size: model size, a key of `COSTS`.
        number: number of the running trial.
        live: other running trials, by id.
        start: whether it is one of the initial trials of the search.
        made: ``epochs`` or ``method`` of its configuration.
    """
    trial = StartedTrial(trial_id=f"t{number:03d}", number=number, config=config(size, **made), start=start)
    return TrialSnapshot(trial, points(scores), others, live or {}, known_cost)


def peers() -> list[TrialRecord]:
    """Return 60 finished trials of all sizes, in which more expensive sizes have a higher F1."""
    rng = np.random.default_rng(3)
    sizes = sorted(COSTS)
    return [ended(i, [f1 - 0.1 + COSTS[sizes[i % 4]] / 100 for f1 in draw(rng)], sizes[i % 4]) for i in range(60)]


def standings(others: Sequence[TrialRecord], count: int = 200) -> Iterator[TrialSnapshot]:
    """Yield snapshots of running trials of all sizes after one or two thirds of their schedule."""
    rng = np.random.default_rng(4)
    for number in range(500, 500 + count):
        size = sorted(COSTS)[number % 4]
        yield standing(draw(rng)[: 1 + number % 2], others, size=size, number=number)
