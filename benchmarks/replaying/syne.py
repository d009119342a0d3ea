"""Syne Tune's MO-ASHA, the real package, in a separate Python (its pins conflict): JSON lines through a pipe."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Literal

from lft_ray.records import CurvePoint, TrialConfig

from .clock import Started
from .start import Given
from .table import Curve

__all__ = ["SyneMoAsha", "find_python"]

VARIABLE = "SYNE_TUNE_PYTHON"
SERVER = Path(__file__).with_name("syne_server.py")


def find_python() -> str:
    """Path of a Python that has syne-tune, from ``SYNE_TUNE_PYTHON``; empty: there is none."""
    path = os.environ.get(VARIABLE, "")
    return path if path and Path(path).exists() else ""


class SyneMoAsha:
    """A search by Syne Tune's `MOASHA` with its defaults: random configurations, non-dominated sorting at the rungs.

    Args:
        given: space, start table and costs. The scheduler takes no start points: start trials are added as if it had
            suggested them.
        seed: seed of the scheduler.
    """

    def __init__(self, given: Given, *, seed: int) -> None:
        self.given = given
        self.suggestion_s: list[float] = []
        self._queue = list(given.start)
        self._count = 0
        self._configs: dict[str, TrialConfig] = {}
        networks = [config for config in given.start if config.learning_rate is not None]
        evaluations = len(given.table.curve(networks[0], given.table.seeds(networks[0])[0]).f1) - 1
        self._process = subprocess.Popen(
            [find_python(), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
        self._request(
            do="make", seed=seed, max_t=evaluations, sizes=given.networks, rates=given.table.rates,
            epochs=given.table.epochs, batches=given.table.batches,
        )  # fmt: skip

    def next(self) -> Started | Literal["wait", "finished"]:
        """The start table, then the scheduler's suggestions."""
        trial_id = f"t{self._count:03d}"
        self._count += 1
        if self._queue:
            config = self._queue.pop(0)
            if config.learning_rate is None:
                return Started(trial_id, config)
        else:
            response = self._request(do="suggest")
            config = TrialConfig(**response["config"], max_length=self.given.table.max_length)
            self.suggestion_s.append(response["seconds"])
        self._configs[trial_id] = config
        self._request(do="add", trial=self._count - 1, config=config.model_dump())
        return Started(trial_id, config)

    def point(self, trial_id: str, point: CurvePoint) -> str:
        """Report an evaluation."""
        if trial_id not in self._configs or point.step == 0:
            return ""
        result = self._result(trial_id, point.f1, point.step)
        decision = self._request(do="result", trial=int(trial_id[1:]), result=result)["decision"]
        return "stopped by MO-ASHA" if decision == "STOP" else ""

    def end(self, trial_id: str, curve: Curve, *, points: int, reason: str) -> None:
        """Complete a trial that ran to its end, remove one that was stopped: as Syne Tune's own tuner does."""
        if trial_id not in self._configs:
            return
        if reason:
            self._request(do="remove", trial=int(trial_id[1:]))
        else:
            result = self._result(trial_id, float(curve.f1[-1]), points - 1)
            self._request(do="complete", trial=int(trial_id[1:]), result=result)

    def close(self) -> None:
        """Shut down the server process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=30)
        if self._process.stdout:
            self._process.stdout.close()

    def _result(self, trial_id: str, f1: float, step: int) -> dict[str, Any]:
        cost = self.given.known_cost(self._configs[trial_id])
        return {"error": 1.0 - f1, "cost": cost, "training_iteration": step}

    def _request(self, **message: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"syne-tune's process ended at {message['do']!r} (exit {self._process.wait()})")
        return dict(json.loads(line))
