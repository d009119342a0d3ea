"""Ray Tune in its standard setup: its own `OptunaSearch` and `ASHAScheduler`, called as Tune's controller does.

Two objectives (metric ``["f1", "cost"]``, mode ``["max", "min"]``) with the searcher's default sampler; ASHA with its
defaults on F1, since it takes one metric, over the evaluations of a schedule. A trial that ASHA stops is completed with
its last result, as `TuneController.stop_trial` does, so Optuna sees it as COMPLETE with the partial F1.
"""

import logging
import time
from types import SimpleNamespace
from typing import Any, Literal

from lft_ray.records import CurvePoint, TrialConfig

from .clock import Started
from .start import Given
from .table import Curve

__all__ = ["StockRay"]


class StockRay:
    """A search with Ray Tune's own components.

    Args:
        given: space, start table and costs.
        seed: of the searcher.
    """

    def __init__(self, given: Given, *, seed: int) -> None:
        import optuna
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)
        self.given = given
        self.suggestion_s: list[float] = []
        space = {
            "model_size": tune.choice(given.networks),
            "learning_rate": tune.loguniform(given.table.rates[0], given.table.rates[-1]),
            "epochs": tune.choice(list(given.table.epochs)),
            "batch_size": tune.choice(list(given.table.batches)),
        }
        networks = [config for config in given.start if config.learning_rate is not None]
        self._linear = [config for config in given.start if config.learning_rate is None]
        self._starts = len(networks)
        self.searcher = OptunaSearch(
            OptunaSearch.convert_search_space(space),
            metric=["f1", "cost"],
            mode=["max", "min"],
            points_to_evaluate=[{name: getattr(config, name) for name in space} for config in networks],
            seed=seed,
        )
        evaluations = len(given.table.curve(networks[0], given.table.seeds(networks[0])[0]).f1) - 1
        self.scheduler = ASHAScheduler(metric="f1", mode="max", max_t=evaluations)
        self._count = 0
        self._trials: dict[str, tuple[Any, TrialConfig]] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def next(self) -> Started | Literal["wait", "finished"]:
        """The linear model first, which is outside this space; then the searcher's suggestions."""
        self._count += 1
        trial_id = f"t{self._count - 1:03d}"
        if self._linear:
            return Started(trial_id, self._linear.pop(0))
        began = time.thread_time()
        params = self.searcher.suggest(trial_id)
        if self._starts:
            self._starts -= 1
        else:
            self.suggestion_s.append(time.thread_time() - began)
        config = TrialConfig(**params, max_length=self.given.table.max_length)
        trial = SimpleNamespace(trial_id=trial_id, config=params)
        self._trials[trial_id] = (trial, config)
        self.scheduler.on_trial_add(None, trial)
        return Started(trial_id, config)

    def point(self, trial_id: str, point: CurvePoint) -> str:
        """Report an evaluation to the scheduler, and to the searcher if the trial continues."""
        if trial_id not in self._trials or point.step == 0:
            # The frozen probe comes before training; a stock trainable reports after it has trained.
            return ""
        trial, config = self._trials[trial_id]
        result = {"f1": point.f1, "cost": self.given.known_cost(config), "training_iteration": point.step}
        self._last[trial_id] = result
        if self.scheduler.on_trial_result(None, trial, result) == "STOP":
            return "stopped by ASHA"
        self.searcher.on_trial_result(trial_id, result)
        return ""

    def end(self, trial_id: str, curve: Curve, *, points: int, reason: str) -> None:
        """Complete the trial, stopped or not, with its last result."""
        del points, reason
        if trial_id not in self._trials:
            return
        trial, _ = self._trials.pop(trial_id)
        if not curve.is_done:
            # A trainable that raised: Tune calls on_trial_error, which does nothing in ASHA.
            self.searcher.on_trial_complete(trial_id, error=True)
            return
        self.scheduler.on_trial_complete(None, trial, self._last[trial_id])
        self.searcher.on_trial_complete(trial_id, result=self._last[trial_id])

    def close(self) -> None:
        """Nothing to close."""
