"""Small hand-made tables: two sizes, four rates, two schedules, every number written down."""

from typing import Any

from benchmarks.replaying.table import Table, of_rows

RATES = (1e-5, 1e-4, 3e-4, 1e-3)
COSTS = {"tfidf": 1.0, "minilm:1": 10.0, "minilm:2": 50.0}
BEST = {"minilm:1": 0.80, "minilm:2": 0.90}
SECONDS = {"minilm:1": 10.0, "minilm:2": 20.0}
USD_PER_S = 0.01


def final_f1(size: str, rate: float, epochs: int, seed: int, spread: float) -> float:
    """Best at 3e-4 and three epochs; seeds differ by ``spread``, symmetrically."""
    return BEST[size] - 0.05 * abs(RATES.index(rate) - 2) - (0.02 if epochs == 1 else 0.0) + spread * (seed - 1)


Rows = list[dict[str, Any]]


def rows(spread: float = 0.0, seeds: int = 3) -> tuple[Rows, Rows, Rows]:
    """Rows of ``runs``, ``points``, ``serve``. A curve climbs by equal steps, from 0.2 below its end."""
    runs: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []

    def add(size: str, seed: int, rate: float, epochs: int, f1s: list[float], seconds: float) -> None:
        run_id = len(runs)
        runs.append(
            {
                "run_id": run_id, "size": size, "seed": seed, "lr": rate, "epochs": epochs, "max_len": 64,
                "batch": 32 if epochs else 0, "params": 0 if size == "tfidf" else int(size[-1]) * 1_000_000,
                "status": "done", "train_rows": 400, "validation_rows": 200,
            }
        )  # fmt: skip
        for step, f1 in enumerate(f1s):
            at = seconds * (step + 1) / len(f1s)
            points.append(
                {
                    "run_id": run_id, "step": step, "frac": step / (len(f1s) - 1) if len(f1s) > 1 else 1.0,
                    "val_f1": f1, "val_loss": 1.0 - f1, "train_s": at, "train_usd": at * USD_PER_S,
                }
            )  # fmt: skip

    for seed in range(seeds):
        add("tfidf", seed, float("nan"), 0, [0.70], 1.0)
        for size in BEST:
            for rate in RATES:
                for epochs in (1, 3):
                    end = final_f1(size, rate, epochs, seed, spread)
                    add(size, seed, rate, epochs, [end - 0.2, end - 0.1, end], SECONDS[size] * epochs)
    serve = [
        {"size": size, "precision": precision, "eval_len": length, "usd_per_million": cost * factor}
        for size, cost in COSTS.items()
        for precision, factor in (("fp32", 1.0), ("bf16", 0.5))
        for length in (32, 64)
    ]
    return runs, points, serve


def table(spread: float = 0.0, seeds: int = 3) -> Table:
    return of_rows("hand", *rows(spread, seeds))
