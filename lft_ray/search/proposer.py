"""Propose the next configuration. Stateless: told records and pending configurations in, one configuration out.

Every call builds an Optuna study in memory from what it is given, with a sampler seeded by (seed, n): equal arguments,
equal proposal, in any process, so that a resumed search needs no saved sampler. Never calls Ray, never writes.
"""

import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from lft_ray.plugins import resolve
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus, Variant
from lft_ray.search import SAMPLERS
from lft_ray.search.space import SearchSpace
from lft_ray.search.teachers import or_in_full

__all__ = ["Proposer"]

RESAMPLES = 3
"""Proposals asked of the sampler before plain draws are tried: each costs a fit, and a sure model says the same."""
DRAWS = 256
BEST_ERROR = 1e-4
"""1 - F1 is not told below this: a perfect score of a small split is not infinitely good."""


class Proposer:
    """Asks an Optuna sampler where to look next on the cost-F1 plane.

    Args:
        space: what is searched.
        sampler: a key of `SAMPLERS` or ``package.module:Name``.
        seed: of the search.
        known_cost: dollars per million predictions of a configuration, measured before it is trained.
        startup_trials: finished trials before the sampler models anything; uniform until then.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: str,
        seed: int,
        known_cost: Callable[[TrialConfig], float],
        startup_trials: int | None = None,
    ) -> None:
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.known_cost = known_cost
        # One trial more than dimensions: the fewest from which a line through them all can be told from a plane.
        self.startup_trials = startup_trials or len(space.dimensions) + 1
        self._make_sampler = resolve(sampler, SAMPLERS, where="search.sampler")

    def warm_up(self) -> None:
        """Have the sampler load and compile what it needs (3-5 s for the GP: torch, SciPy), while trials run anyway."""
        if self.space.is_empty:
            return
        configs = [self.space.draw(random.Random(i)) for i in range(self.startup_trials + 1)]
        records = [
            TrialRecord(
                trial_id=f"t{i:03d}",
                attempt=1,
                config=config,
                status=TrialStatus.DONE,
                variants=[Variant(precision="", max_length=1, f1=i / (self.startup_trials + 1))],
            )
            for i, config in enumerate(configs)
        ]
        self._ask(0, records, [])

    def propose(
        self,
        n: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal, or None when no configuration is left to try.

        Args:
            n: number of the trial, from 0.
            told: ended trials, in the order in which they are told.
            pending: configurations that were started and are not told: running, or finished after a cut-off.
            fits: a proposal must satisfy this (it may still be paid for); all do when left out.
        """
        if self.space.is_empty:
            return None
        taken = {_key(config) for config in (*(r.config for r in told), *pending)}
        for attempt in range(RESAMPLES):
            for config in or_in_full(self._ask(_seed(self.seed, n, attempt), told, pending)):
                if _key(config) not in taken and (fits is None or fits(config)):
                    return config
        return self._draw(n, taken, fits)

    def _draw(self, n: int, taken: set[TrialConfig], fits: Callable[[TrialConfig], bool] | None) -> TrialConfig | None:
        rng = random.Random(_seed(self.seed, n, RESAMPLES))
        if self.space.count is None or self.space.count > DRAWS:
            candidates = [self.space.draw(rng) for _ in range(DRAWS)]
        else:
            candidates = self.space.all()
            rng.shuffle(candidates)
        return next((c for c in candidates if _key(c) not in taken and (fits is None or fits(c))), None)

    def _ask(self, seed: int, told: Sequence[TrialRecord], pending: Sequence[TrialConfig]) -> TrialConfig:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(
                directions=["minimize", "minimize"], sampler=self._make_sampler(seed, self.startup_trials)
            )
            distributions = self.space.distributions()
            for trial in self._trials(told, pending, distributions):
                study.add_trial(trial)
            return self.space.decode(study.ask(distributions).params)

    def _trials(
        self, told: Sequence[TrialRecord], pending: Sequence[TrialConfig], distributions: dict[str, Any]
    ) -> list[Any]:
        from optuna.trial import TrialState, create_trial

        scored = {r.trial_id: score for r in told if (score := self._score(r)) is not None}
        worst = max((error for _, error in scored.values()), default=0.0)
        trials = []
        for record in told:
            params = self.space.encode(record.config)
            if params is None:
                continue
            if record.trial_id in scored:
                values = scored[record.trial_id]
            elif record.status is TrialStatus.STOPPED:
                # Half-trained: its F1 says nothing. The GP reads COMPLETE and RUNNING only, so it never hears of it.
                trials.append(create_trial(state=TrialState.PRUNED, params=params, distributions=distributions))
                continue
            else:
                # Diverged or failed: told as bad as the worst, so that the region is learned and not asked for again.
                values = (self._log_cost(record.config), worst)
            trials.append(
                create_trial(state=TrialState.COMPLETE, params=params, distributions=distributions, values=values)
            )
        for config in pending:
            if (params := self.space.encode(config)) is not None:
                trials.append(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions))
        return trials

    def _score(self, record: TrialRecord) -> tuple[float, float] | None:
        """(log10 dollars, log10 error) of a finished trial's cheapest variant."""
        if record.status is not TrialStatus.DONE or not record.variants:
            return None
        cheapest = min(
            record.variants,
            key=lambda v: math.inf if v.usd_per_million_predictions is None else v.usd_per_million_predictions,
        )
        return self._log_cost(record.config), math.log10(max(1.0 - cheapest.f1, BEST_ERROR))

    def _log_cost(self, config: TrialConfig) -> float:
        return math.log10(max(self.known_cost(config), 1e-12))


def _key(config: TrialConfig) -> TrialConfig:
    """Two configurations that differ in the seed or the teacher alone are one proposal."""
    return config.model_copy(update={"seed": 0, "teacher": ""})


def _seed(*parts: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence(parts).generate_state(1)[0]) % 2**31
