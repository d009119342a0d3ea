"""A trial that takes a moment and returns a known F1: the stand-in for training in cluster tests."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.run.ledger import StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.space import SearchSpace, build_space
from lft_ray.train.device.usage_notes import put_usage

COSTS = {"tfidf": 0.5, "tiny:1": 2.0, "tiny:2": 3.0, "tiny:4": 5.0, "tiny:6": 7.0}


@dataclass(frozen=True)
class TinySize:
    name: str
    is_linear: bool = False
    default_learning_rate: float | None = 2e-4

    @property
    def layers(self) -> int | None:
        return None if self.is_linear else int(self.name.rpartition(":")[2])


SIZES = [
    TinySize(name, is_linear=name == "tfidf", default_learning_rate=None if name == "tfidf" else 2e-4) for name in COSTS
]


def known_f1(config: TrialConfig) -> float:
    """Better with depth and epochs, best at a learning rate of 2e-4."""
    if config.learning_rate is None:
        return 0.80
    off = math.log10(config.learning_rate / 2e-4)
    return round(0.84 + 0.012 * COSTS[config.model_size] + 0.004 * (config.epochs or 1) - 0.05 * off * off, 6)


def space(training: Any) -> SearchSpace:
    return build_space(SIZES, training)


@dataclass(frozen=True)
class Trivial:
    """Runs anywhere; leaves lines in ``trials.log``.

    Attributes:
        run_uri: run folder.
        seconds: of the whole trial; a little longer for deeper sizes, so that trials end out of order.
        die: trial id whose first attempt ends its own process, hard.
        fail: trial id that raises.
        notes_core_s: processor seconds a point that it notes to have spent; 0: no notes.
        hold_mb: trial id -> memory that it holds until its end.
    """

    run_uri: str
    seconds: float = 0.2
    die: str = ""
    fail: str = ""
    notes_core_s: float = 0.0
    hold_mb: dict[str, int] = field(default_factory=dict)

    def __call__(self, trial: StartedTrial, report: Callable[[dict[str, Any]], None], /) -> TrialResult:
        self._log(trial, "start")
        started, curve = now_utc(), []
        f1 = known_f1(trial.config)
        held = [b"\1" * 1_000_000 for _ in range(self.hold_mb.get(trial.trial_id, 0))]
        factor = 1.0 + 0.5 * (COSTS[trial.config.model_size] / 7.0)
        for step in (1, 2, 3):
            time.sleep(self.seconds * factor / 3)
            if trial.trial_id == self.die and trial.attempt == 1:
                os._exit(9)
            if trial.trial_id == self.fail:
                raise RuntimeError("out of luck")
            if self.notes_core_s:
                state = Storage(self.run_uri).child("trials", trial.trial_id, "state")
                put_usage(state, str(trial.attempt), Usage(core_s=self.notes_core_s * step, wall_s=9.0))
            point = CurvePoint(fraction=step / 3, f1=f1 * (1 - 0.5**step), loss=1.0 / step, train_s=float(step))
            curve.append(point)
            report(point.model_dump(include={"fraction", "f1", "loss", "train_s", "step"}))
        result = TrialResult(
            trial_id=trial.trial_id,
            attempt=trial.attempt,
            config=trial.config,
            status=TrialStatus.DONE,
            curve=curve,
            usage=Usage(core_s=1.0, wall_s=1.0),
            variants=[ScoredVariant(precision="fp32", max_length=trial.config.max_length, f1=f1)],
            started_at=started,
        )
        Storage(self.run_uri).child("trials", trial.trial_id).put(
            f"result-{trial.attempt}.json", result.model_dump_json()
        )
        self._log(trial, "end")
        del held
        return result

    def _log(self, trial: StartedTrial, what: str) -> None:
        with (Path(self.run_uri) / "trials.log").open("a") as log:
            log.write(f"{trial.trial_id} {trial.attempt} {os.getpid()} {time.time()} {what}\n")


@dataclass(frozen=True)
class Seen:
    """One line of ``trials.log``."""

    trial_id: str
    attempt: int
    pid: int
    at: float
    what: str


def seen(run_uri: str) -> list[Seen]:
    """What workers logged, in order."""
    path = Path(run_uri) / "trials.log"
    fields = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Seen(i, int(a), int(p), float(t), w) for i, a, p, t, w in fields]
