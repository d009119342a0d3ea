"""Recorded learning curves of one task: look up the curve of a configuration and a seed.

In: ``runs``, ``points`` and ``serve`` of a folder under ``benchmarks/tables``. Out: `Curve` values. A learning rate
that was not recorded is interpolated (monotone cubic in its logarithm, within one seed) and marked as such.
"""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lft_ray.records import TrialConfig

__all__ = ["Cell", "Curve", "Table", "as_cell", "load"]

Cell = tuple[str, int, int]
"""(size, batch, epochs); batch and epochs are 0 for a linear model."""
PRECISION = "fp32"
"""Precision at which F1 was recorded, and whose serving cost is used."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A recorded or interpolated trial. All arrays have one entry per point, the end of the schedule last."""

    seed: int
    fractions: np.ndarray
    f1: np.ndarray
    loss: np.ndarray
    train_s: np.ndarray
    """CPU seconds since the trial began, including evaluation."""
    usd: np.ndarray
    """Training dollars since the trial began."""
    interpolated: bool = False
    is_done: bool = True
    """False if it diverged or failed and has no model."""

    def usd_at(self, elapsed_s: float) -> float:
        """Dollars spent after ``elapsed_s`` seconds."""
        return float(np.interp(elapsed_s, np.append(0.0, self.train_s), np.append(0.0, self.usd)))


class Row:
    """The recorded rates of one cell and seed."""

    def __init__(self, seed: int, by_rate: dict[float, Curve]) -> None:
        self.seed = seed
        self.rates = np.array(sorted(by_rate))
        self.curves = [by_rate[rate] for rate in self.rates]
        self._fits: Any = None

    def at(self, rate: float) -> Curve:
        """The curve at a learning rate, recorded or interpolated."""
        if not self.rates[0]:
            return self.curves[0]
        near = int(np.argmin(np.abs(np.log(self.rates / rate))))
        if math.isclose(self.rates[near], rate, rel_tol=1e-6):
            return self.curves[near]
        return self._between(rate)

    def _between(self, rate: float) -> Curve:
        from scipy.interpolate import PchipInterpolator

        if self._fits is None:
            x = np.log(self.rates)

            def fit(name: str, *, as_steps: bool) -> Any:
                values = np.array([getattr(c, name) for c in self.curves])
                # Differences between points, not sums: interpolated, they stay positive, and time never decreases.
                return PchipInterpolator(x, np.diff(values, axis=1, prepend=0.0) if as_steps else values, axis=0)

            self._fits = (
                fit("f1", as_steps=False), fit("loss", as_steps=False), fit("train_s", as_steps=True),
                fit("usd", as_steps=True),
            )  # fmt: skip
        x = float(np.clip(math.log(rate), math.log(self.rates[0]), math.log(self.rates[-1])))
        f1, loss, seconds, usd = (fit(x) for fit in self._fits)
        return Curve(
            seed=self.seed,
            fractions=self.curves[0].fractions,
            f1=np.clip(f1, 0.0, 1.0),
            loss=loss,
            train_s=np.cumsum(seconds),
            usd=np.cumsum(usd),
            interpolated=True,
        )


class Table:
    """All complete rows of one task.

    Args:
        task: its name.
        cells: cell -> seed -> recorded rate -> curve (linear models: one rate, 0).
        usd_per_million: size -> dollars per million predictions.
        params: size -> number of weights.
        train_rows: number of training rows.
        validation_rows: number of validation rows.
        max_length: maximum tokens per text.

    Raises:
        ValueError: no size has a cell with two complete seeds.
    """

    def __init__(
        self,
        task: str,
        cells: dict[Cell, dict[int, dict[float, Curve]]],
        usd_per_million: dict[str, float],
        *,
        params: dict[str, int],
        train_rows: int,
        validation_rows: int,
        max_length: int,
    ) -> None:
        self.task, self.params, self.max_length = task, params, max_length
        self.train_rows, self.validation_rows = train_rows, validation_rows
        complete = _complete(cells)
        self.rates = sorted({rate for seeds in complete.values() for r in seeds.values() for rate in r if rate})
        self.epochs = sorted({epochs for _, _, epochs in complete if epochs})
        self.batches = sorted({batch for _, batch, _ in complete if batch})
        self._rows = {cell: {seed: Row(seed, r) for seed, r in seeds.items()} for cell, seeds in complete.items()}
        names = {size for size, _, _ in complete if size in usd_per_million}
        self.sizes = sorted(names, key=lambda size: usd_per_million[size])
        if not any(rows for cell, rows in self._rows.items() if cell[1]):
            raise ValueError(f"{task}: no network is recorded with two seeds at all learning rates")
        self.usd_per_million = {size: usd_per_million[size] for size in self.sizes}
        self.digest = self._digest()
        self._curves: dict[tuple[Cell, float | None, int], Curve] = {}

    def seeds(self, config: TrialConfig) -> list[int]:
        """Recorded seeds of a configuration."""
        return sorted(self._rows[as_cell(config)])

    def curve(self, config: TrialConfig, seed: int) -> Curve:
        """The curve of a configuration with a seed."""
        key = (as_cell(config), config.learning_rate, seed)
        if key not in self._curves:
            self._curves[key] = self._rows[key[0]][seed].at(config.learning_rate or 0.0)
        return self._curves[key]

    def final_f1(self, config: TrialConfig, *, without: int | None = None) -> float:
        """Mean final F1 over seeds, without one if there are others: the expected score of a shipped model."""
        seeds = [seed for seed in self.seeds(config) if seed != without] or self.seeds(config)
        return float(np.mean([self.curve(config, seed).f1[-1] for seed in seeds]))

    def visit_order(self, config: TrialConfig, seed: int) -> list[int]:
        """Recorded seeds in the order in which visits draw them: equal for every method of one replay seed."""
        size, batch, epochs = as_cell(config)
        rate = round((config.learning_rate or 0.0) * 1e9)
        rng = np.random.default_rng([seed, self.sizes.index(size), batch, epochs, rate])
        return [int(s) for s in rng.permutation(self.seeds(config))]

    def grid(self) -> list[TrialConfig]:
        """Every recorded configuration, linear models included."""
        configs = []
        for (size, batch, epochs), rows in sorted(self._rows.items()):
            for rate in next(iter(rows.values())).rates:
                fields = {"learning_rate": float(rate), "batch_size": batch, "epochs": epochs} if batch else {}
                configs.append(TrialConfig(model_size=size, max_length=self.max_length, **fields))
        return configs

    def mean_trial_usd(self) -> float:
        """Mean dollars of a full random trial of a network: the unit of spend."""
        spent = [self.curve(c, s).usd[-1] for c in self.grid() if c.learning_rate for s in self.seeds(c)]
        return float(np.mean(spent))

    def _digest(self) -> str:
        sha = hashlib.sha256()
        for cell, rows in sorted(self._rows.items()):
            for seed, row in sorted(rows.items()):
                sha.update(repr((cell, seed, self.usd_per_million[cell[0]])).encode())
                for rate, curve in zip(row.rates, row.curves, strict=True):
                    sha.update(np.concatenate([[rate], curve.fractions, curve.f1, curve.usd, curve.train_s]).tobytes())
        return sha.hexdigest()[:12]


def as_cell(config: TrialConfig) -> Cell:
    """The part of a configuration that must be on the grid."""
    return (config.model_size, config.batch_size or 0, config.epochs or 0)


def load(folder: Path, *, batches: tuple[int, ...] = (32,)) -> Table:
    """Read a recorded task.

    Args:
        folder: holds ``runs.parquet``, ``points.parquet`` and ``serve.parquet``.
        batches: batch sizes to replay; others are recorded on a subset of the grid only.

    Raises:
        FileNotFoundError: a table is not there.
        ValueError: it holds too little to replay.
    """
    runs, points, serve = (
        pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("runs", "points", "serve")
    )
    if not runs:
        raise ValueError(f"{folder} holds no run yet")
    return of_rows(folder.name, runs, points, serve, batches=batches)


def of_rows(
    task: str,
    runs: list[dict[str, Any]],
    points: list[dict[str, Any]],
    serve: list[dict[str, Any]],
    *,
    batches: tuple[int, ...] = (32,),
) -> Table:
    """Make a table of the rows of ``runs``, ``points`` and ``serve``."""
    by_run = defaultdict(list)
    for point in points:
        by_run[point["run_id"]].append(point)
    longest = max((len(found) for found in by_run.values()), default=0)
    cells: dict[Cell, dict[int, dict[float, Curve]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run["batch"] and run["batch"] not in batches:
            continue
        found = sorted(by_run[run["run_id"]], key=lambda p: p["frac"])
        is_complete = bool(found) and (run["status"] != "done" or len(found) == longest or not run["batch"])
        if is_complete:
            cell = (run["size"], run["batch"], run["epochs"])
            cells[cell][run["seed"]][run["lr"] if run["batch"] else 0.0] = _curve(run, found, longest)
    max_length = runs[0]["max_len"]
    costs = {
        row["size"]: row["usd_per_million"]
        for row in serve
        if row["eval_len"] == max_length and row["precision"] == PRECISION
    }
    return Table(
        task,
        {cell: seeds for cell, seeds in cells.items() if cell[0] in costs},
        costs,
        params={run["size"]: run["params"] for run in runs},
        train_rows=runs[0]["train_rows"],
        validation_rows=runs[0]["validation_rows"],
        max_length=max_length,
    )


def _curve(run: dict[str, Any], points: list[dict[str, Any]], longest: int) -> Curve:
    # A run that diverged may have ended early: its last point stands for the rest, at no further cost.
    padded = points + [points[-1]] * (longest - len(points) if run["batch"] else 0)
    return Curve(
        seed=run["seed"],
        fractions=np.array([p["frac"] for p in points] + [1.0] * (len(padded) - len(points)), dtype=float),
        f1=np.nan_to_num(np.array([p["val_f1"] for p in padded], dtype=float)),
        loss=np.nan_to_num(np.array([p["val_loss"] for p in padded], dtype=float), nan=99.0, posinf=99.0),
        train_s=np.array([p["train_s"] for p in padded], dtype=float),
        usd=np.array([p["train_usd"] for p in padded], dtype=float),
        is_done=run["status"] == "done",
    )


def _complete(cells: dict[Cell, dict[int, dict[float, Curve]]]) -> dict[Cell, dict[int, dict[float, Curve]]]:
    """Complete cells and seeds: all rates, two seeds, and (batch, epochs) recorded for all sizes."""
    rates = {rate for (_, batch, _), seeds in cells.items() if batch for found in seeds.values() for rate in found}
    full: dict[Cell, dict[int, dict[float, Curve]]] = {}
    for cell, seeds in cells.items():
        whole = {s: found for s, found in seeds.items() if not cell[1] or set(found) == rates}
        if len(whole) >= 2 or (whole and not cell[1]):
            full[cell] = whole
    networks = {size for size, batch, _ in full if batch}
    shapes = {cell[1:] for cell in full if cell[1]}
    shared = {shape for shape in shapes if all((size, *shape) in full for size in networks)}
    return {cell: seeds for cell, seeds in full.items() if not cell[1] or cell[1:] in shared}
