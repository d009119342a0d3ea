"""Run many replays in one or several processes, and cache each outcome in a file, so that a long run can be resumed."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import threadpoolctl

from lft_ray.records import now_utc

from .clock import replay
from .methods import make
from .score import UNITS, Outcome, Scale, outcome
from .simulator import simulate
from .start import Given
from .table import Table, load

__all__ = ["Job", "OutcomeCache", "run_job", "run_jobs", "scale_of", "table_of"]

SIMULATED = "sim:"


@dataclass(frozen=True, slots=True)
class Job:
    """One replay."""

    source: str
    """Folder of a recorded task, or ``sim:NUMBER``."""
    method: str
    seed: int
    workers: int
    reference_cost: float
    """Reference cost, as a multiple of the most expensive size's."""
    library: str = ""
    """Source of the task whose curves an early-stopping rule may use."""


@cache
def table_of(source: str) -> Table:
    """The table behind a source."""
    if source.startswith(SIMULATED):
        return simulate(int(source.removeprefix(SIMULATED)))
    return load(Path(source))


@cache
def scale_of(source: str, reference_cost: float) -> tuple[Given, Scale]:
    """Common inputs of the methods of a source, and the scale of their scores."""
    given = Given.of(table_of(source))
    return given, Scale.of(given.table, given.start, reference_cost=reference_cost)


def run_job(job: Job) -> Outcome:
    """Replay one method once."""
    given, scale = scale_of(job.source, job.reference_cost)
    library = table_of(job.library) if job.library else None
    method = make(job.method, given, seed=job.seed, workers=job.workers, library=library)
    history = replay(given.table, method, seed=job.seed, budget_usd=UNITS * scale.unit_usd, workers=job.workers)
    return outcome(scale, history, method=job.method, seed=job.seed)


def run_jobs(jobs: Sequence[Job], *, processes: int = 1) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, in order."""
    if processes == 1:
        _use_one_core()
        yield from ((job, run_job(job)) for job in jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_use_one_core) as pool:
        yield from zip(jobs, pool.map(run_job, jobs), strict=True)


class OutcomeCache:
    """A cache of outcomes in a JSON-lines file, keyed by everything that determines them except the code.

    Args:
        path: path of the file; None: outcomes are cached in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._rows[tuple(row["key"])] = row

    def find(self, job: Job) -> tuple[Outcome, str] | None:
        """The cached outcome of a job and its date; None if there is none."""
        row = self._rows.get(_key(job))
        return (Outcome(**row["outcome"]), row["date"]) if row else None

    def add(self, job: Job, found: Outcome) -> None:
        """Cache an outcome; the latest of a key is used."""
        row = {"key": list(_key(job)), "date": now_utc(), "outcome": found.as_row()}
        self._rows[_key(job)] = row
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")


def _key(job: Job) -> tuple[Any, ...]:
    library = table_of(job.library).digest if job.library else ""
    return (table_of(job.source).digest, job.method, job.seed, job.workers, job.reference_cost, library)


def _use_one_core() -> None:
    """Limit this process to one core: times per proposal are comparable, and processes do not compete for cores."""
    # Torch, which Optuna's GP loads at its first proposal, reads this once.
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpoolctl.threadpool_limits(1)
