"""Made-up learning curves: those of `lft_ray.testing.curves`, and a library of full ones."""

from typing import Any

import numpy as np

from lft_ray.search.stopping.base import FullCurve
from lft_ray.testing.curves import COSTS, THIRDS, config, draw, draws, ended, known_cost, points, standing

__all__ = ["COSTS", "THIRDS", "config", "draw", "draws", "ended", "known_cost", "library", "points", "standing"]


def library(count: int, seed: int = 0, **same: Any) -> list[FullCurve]:
    rng = np.random.default_rng(seed)
    shape: dict[str, Any] = {"method": "full", "epochs": 2} | same
    return [FullCurve(**shape, points=tuple(zip(THIRDS, draw(rng), strict=True))) for _ in range(count)]
