"""Made-up learning curves and what a rule is asked about them."""

from collections.abc import Mapping, Sequence

import numpy as np

from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialRecord, TrialStatus
from lft_ray.run.ledger import StartedTrial
from lft_ray.search.stopping.base import FullCurve, TrialSnapshot

THIRDS = (1 / 3, 2 / 3, 1.0)
COSTS = {"tiny:1": 2.0, "tiny:2": 3.0, "tiny:4": 5.0, "tiny:6": 7.0}


def known_cost(config: TrialConfig) -> float:
    return COSTS[config.model_size]


def config(size: str = "tiny:6", *, epochs: int = 2, method: str = "full") -> TrialConfig:
    return TrialConfig(model_size=size, method=method, learning_rate=2e-4, batch_size=16, epochs=epochs)


def points(scores: Sequence[float], fractions: Sequence[float] = THIRDS) -> list[CurvePoint]:
    return [CurvePoint(fraction=at, f1=f1, loss=1.0, train_s=at) for at, f1 in zip(fractions, scores, strict=False)]


def draws(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Curves at thirds: saturating, noisy, with a bump at the end as the learning rate falls."""
    final = 0.92 - np.abs(rng.normal(0, 0.05, (count, 1)))
    lost = np.exp(rng.normal(-1.2, 0.6, (count, 1))) * (1.0 - final) * np.array([1.0, 0.45, 0.0])
    return np.clip(final - lost + rng.normal(0, 0.004, (count, 3)), 0.0, 1.0).tolist()


def draw(rng: np.random.Generator) -> list[float]:
    return draws(rng, 1)[0]


def library(count: int, seed: int = 0, **same: object) -> list[FullCurve]:
    rng = np.random.default_rng(seed)
    shape = {"method": "full", "epochs": 2} | same
    return [FullCurve(**shape, points=tuple(zip(THIRDS, draw(rng), strict=True))) for _ in range(count)]


def ended(number: int, scores: Sequence[float], size: str = "tiny:6", **more) -> TrialRecord:
    curve = points(scores)
    done = len(curve) == len(THIRDS)
    made = config(size, **{k: more.pop(k) for k in ("epochs", "method") if k in more})
    variant = ScoredVariant(
        precision="fp32", max_length=128, f1=scores[-1], usd_per_million_predictions=known_cost(made)
    )
    fields = {
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
    **made,
) -> TrialSnapshot:
    trial = StartedTrial(trial_id=f"t{number:03d}", number=number, config=config(size, **made), start=start)
    return TrialSnapshot(trial, points(scores), others, live or {}, known_cost)
