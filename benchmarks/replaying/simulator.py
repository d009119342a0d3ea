"""Synthetic tables in the recorded format, for choosing methods and their settings (never reported as results).

Six depths and a linear model; the best learning rate falls with depth and with epochs, too high a rate diverges, curves
saturate and rise at the end when the rate has decayed, long schedules may overfit, seeds differ by 0.3 to 1 point. The
shape follows fine-tuning of small encoders; the numbers are drawn at random, so a result on them is plausible, but not
measured.
"""

from typing import Any

import numpy as np

from .table import Table, of_rows

__all__ = ["RATES", "simulate", "synthetic_rows"]

RATES = (1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 6e-4, 1e-3)
DEPTHS = (1, 2, 3, 4, 5, 6)
FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SEEDS = 3
USD_PER_CORE_S = 1e-5
EMBEDDING_PARAMS, LAYER_PARAMS = 11_900_000, 1_775_000


class _Task:
    """The randomly drawn ground truth of one task."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.top = rng.uniform(0.80, 0.97)
        self.chance = rng.uniform(0.15, 0.4)
        self.depth_gap = rng.uniform(0.01, 0.12)
        self.depth_power = rng.uniform(0.4, 1.5)
        self.tfidf = self.top - self.depth_gap - rng.uniform(-0.01, 0.12)
        self.best_rate = rng.uniform(-3.8, -3.3)
        self.rate_slope = rng.uniform(0.1, 0.6)
        self.jitter = rng.normal(0.0, 0.12, size=len(DEPTHS))
        self.below, self.above = rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.4)
        self.cliff = rng.uniform(0.5, 1.0)
        self.long_gain = rng.uniform(-0.01, 0.025)
        self.speed = rng.uniform(2.0, 6.0)
        self.bump = rng.uniform(0.0, 0.04)
        self.seed_sd = rng.uniform(0.003, 0.01)

    def final(self, depth: int, rate: float, epochs: int) -> tuple[float, float]:
        """(mean final F1, decades above the best rate)."""
        short = (1.0 - (depth - 1) / (len(DEPTHS) - 1)) ** self.depth_power
        best = (
            self.best_rate - self.rate_slope * (depth - 1) / 5 - 0.15 * np.log2(epochs) / 1.6 + self.jitter[depth - 1]
        )
        off = np.log10(rate) - best
        top = self.top - self.depth_gap * short + (self.long_gain if epochs > 1 else 0.0)
        loss = (self.above if off > 0 else self.below / np.sqrt(epochs)) * off * off
        if off > self.cliff:
            loss += (top - self.chance) * min(1.0, 2.0 * (off - self.cliff))
        return max(self.chance, top - loss), off

    def curve(self, depth: int, rate: float, epochs: int) -> np.ndarray:
        """F1 at `FRACTIONS` for one seed."""
        mean, off = self.final(depth, rate, epochs)
        end = mean + self.rng.normal(0.0, self.seed_sd * (3.0 if off > 0.5 * self.cliff else 1.0))
        probe = self.chance + 0.6 * (self.top - self.depth_gap - self.chance)
        s = np.array(FRACTIONS)
        speed = self.speed * np.clip(1.0 + 0.5 * off, 0.4, 2.0) * np.sqrt(epochs)
        rise = (1.0 - np.exp(-speed * s)) / (1.0 - np.exp(-speed))
        bump = self.bump * np.clip(off + 0.7, 0.0, 1.5) * s * (1.0 - s) * 4.0
        noise = self.rng.normal(0.0, 0.6 * self.seed_sd, size=len(s)) * (s < 1.0) * (s > 0.0)
        return np.clip(probe + (end - probe) * rise - bump + noise, 0.01, 0.999)


def simulate(number: int) -> Table:
    """The synthetic task with this number; deterministic."""
    return of_rows(f"sim{number}", *synthetic_rows(number))


def synthetic_rows(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables ``runs``, ``points`` and ``serve`` of a synthetic task."""
    rng = np.random.default_rng([20261123, number])
    task = _Task(rng)
    seconds_a_layer, fixed_s = rng.uniform(3.0, 12.0), rng.uniform(2.0, 10.0)
    runs: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []

    def add(size: str, f1: np.ndarray, fractions: tuple[float, ...], total_s: float, **run: Any) -> None:
        run_id = len(runs)
        depth = run.get("depth", 0)
        runs.append(
            {
                "run_id": run_id, "task": f"sim{number}", "size": size, "depth": depth,
                "params": EMBEDDING_PARAMS + LAYER_PARAMS * depth if depth else 0, "max_len": 64, "precision": "fp32",
                "train_rows": 1500, "validation_rows": 1000, "status": "done", **run,
            }
        )  # fmt: skip
        at = fixed_s + (total_s - fixed_s) * np.array(fractions) if len(fractions) > 1 else np.array([total_s])
        for step, (fraction, score, second) in enumerate(zip(fractions, f1, at, strict=True)):
            points.append(
                {
                    "run_id": run_id, "step": step, "frac": fraction, "train_s": float(second), "eval_s": 0.2,
                    "train_usd": float(second) * USD_PER_CORE_S, "val_f1": float(score),
                    "val_loss": float(-np.log(score)),
                }
            )  # fmt: skip

    for seed in range(SEEDS):
        add("tfidf", np.array([task.tfidf]), (1.0,), 1.5, seed=seed, lr=float("nan"), batch=0, epochs=0)
        for depth in DEPTHS:
            for rate in RATES:
                for epochs in (1, 3):
                    total_s = (fixed_s + seconds_a_layer * depth * epochs) * rng.uniform(0.95, 1.05)
                    f1 = task.curve(depth, rate, epochs)
                    add(
                        f"minilm:{depth}", f1, FRACTIONS, total_s, seed=seed, lr=rate, batch=32, epochs=epochs,
                        depth=depth,
                    )  # fmt: skip
    request, layer = rng.uniform(0.2, 1.0), rng.uniform(0.3, 1.5)
    serve = [
        {"size": f"minilm:{d}", "precision": "fp32", "eval_len": 64, "usd_per_million": request + layer * d}
        for d in DEPTHS
    ]
    serve.append({"size": "tfidf", "precision": "fp32", "eval_len": 64, "usd_per_million": request})
    return runs, points, serve
