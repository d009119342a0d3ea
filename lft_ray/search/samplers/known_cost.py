"""Known-cost EHVI: an Optuna sampler for two objectives whose first, the cost, is known before a trial runs.

One Gaussian process models the second objective. The acquisition of a candidate is the exact expected hypervolume
improvement at its known cost (`lft_ray.search.samplers.ehvi`), divided by its predicted training dollars to the power
``eta`` (cost-aware Bayesian optimisation: Lee et al. 2020, arXiv 2003.10870). Pending trials are imputed with their
predicted mean, and the front consists of predicted means rather than of noisy scores. The sampler needs neither Ray nor
the rest of the search:

    >>> import math
    >>> import optuna
    >>> from lft_ray.search.samplers.priors import CostPrior
    >>> from lft_ray.search.samplers.known_cost import KnownCostSampler
    >>> def cost(params):  # dollars per million predictions, say
    ...     return 1.5 * params["layers"]
    >>> def objective(trial):
    ...     layers = trial.suggest_int("layers", 1, 6)
    ...     rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    ...     f1 = 0.9 - 0.2 / layers - 0.05 * (math.log10(rate) + 3.5) ** 2
    ...     return cost(trial.params), f1
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> sampler = KnownCostSampler(CostPrior(cost), seed=0)
    >>> study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    >>> study.optimize(objective, n_trials=20)
    >>> max(trial.values[1] for trial in study.best_trials) > 0.85
    True

A trial that was stopped early is added as pruned, with its expected final value in the user attribute `EXPECTED_VALUE`;
the model uses it with extra noise, so that its region is not proposed again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from lft_ray.search.samplers.axes import Axes
from lft_ray.search.samplers.ehvi import Front, VariantTable, expected_gain
from lft_ray.search.samplers.gp import GaussianProcess
from lft_ray.search.samplers.pool import Observations, Pool, PoolPriors
from lft_ray.search.samplers.priors import EXPECTED_VALUE, MIN_ERROR, CostPrior, Params

__all__ = ["EXPECTED_VALUE", "KnownCostSampler", "SamplerOptions"]

Array = np.ndarray[Any, Any]
REFINED_COUNT = 4
"""Number of best candidates whose continuous parameters are refined."""
FINE_SDS = (0.04, 0.012)
"""Standard deviation of each refinement step, relative to the axis."""
FINE_COUNT = 24
"""Perturbations of each candidate per refinement step."""
TIE_DIGITS = 7
"""Acquisition values that agree to this many digits are ties, broken by the seed."""


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """Settings of the model and of the acquisition.

    Attributes:
        eta: exponent of the training dollars in the acquisition; 0 ignores them.
        log_error: whether the model learns ``-log10(1 - score)`` of a maximised score (at most 1). A minimised
            objective is learned as it is: pass the logarithm of an error.
        on_score: measure the improvement on the scale of the score; for a model of ``-log10(1 - score)`` only.
        stopped_sd: standard deviation of the noise of a stopped trial's expected value, in the units of the model.
        n_startup_trials: finished trials before the model is used; until then space-filling points near the centre.
        n_candidates: number of points at which the acquisition is evaluated before refinement.
    """

    eta: float = 0.5
    log_error: bool = True
    on_score: bool = False
    stopped_sd: float = 0.03
    n_startup_trials: int = 4
    n_candidates: int = 768


class KnownCostSampler(BaseSampler):
    """Optuna sampler: expected hypervolume improvement with known cost.

    Args:
        prior: prior knowledge about trials, above all their cost.
        options: settings of the model and of the acquisition.
        seed: equal seeds and equal trials give equal proposals in any process; None: random.
    """

    def __init__(self, prior: CostPrior, options: SamplerOptions | None = None, seed: int | None = None) -> None:
        self._prior = prior
        self._options = options or SamplerOptions()
        self._seed = seed
        if seed is None:
            self.reseed_rng()

    def reseed_rng(self) -> None:
        """Draw a new seed (called by Optuna in parallel workers)."""
        self._seed = int(np.random.SeedSequence().generate_state(1)[0])

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters of any earlier trial, so that conditional ones are modelled too."""
        space: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False):
            if other.number != trial.number:
                space.update(other.distributions)
        return {name: space[name] for name in sorted(space) if not space[name].single()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample a parameter that no earlier trial had, uniformly."""
        seed = int(self._rng(trial, *param_name.encode()).integers(2**31))
        return RandomSampler(seed=seed).sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The feasible candidate with the highest acquisition; empty (uniform values) if none is feasible."""
        if len(study.directions) != 2 or study.directions[0] is not StudyDirection.MINIMIZE:
            raise ValueError(
                f"KnownCostSampler needs directions ['minimize', 'minimize' or 'maximize']: got {study.directions}"
            )
        if not search_space:
            return {}
        with _threads().limit(limits=1, user_api="blas"):
            return self._sample(study, trial, search_space)

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        rng = self._rng(trial)
        prior, options = self._prior, self._options
        axes = Axes.of(search_space, prior.positions, prior.families)
        pool_priors = PoolPriors(axes, prior.cost, prior.train_usd, prior.centre)
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number and t.params]
        value_of = self._value_of(study.directions[1])
        past = pool_priors.past(others, value_of, options.stopped_sd)
        is_start = len(past.known) < max(options.n_startup_trials, 1)
        pool = pool_priors.candidates(past, options.n_candidates, rng, near_centre=is_start)
        if is_start:
            return self._first_feasible(pool, rng.permutation(len(pool.params)))
        if not pool.params:
            return {}
        gp = _posterior(past, axes.groups)
        baselines = [(cost, value_of(value)) for cost, value in prior.baselines]
        model = _Model(gp, _front(gp, past, pool, baselines), options.eta, options.on_score)
        return self._best(pool_priors, model, past, pool, rng)

    def _best(
        self, pool_priors: PoolPriors, model: "_Model", past: Observations, pool: Pool, rng: np.random.Generator
    ) -> Params:
        # Check feasibility of the best candidates only, and before refining them: the check may be expensive.
        chosen = self._first_feasible_rows(pool, _ranked(model.acquisition(pool), rng), REFINED_COUNT)
        if not len(chosen):
            return {}
        best = pool.rows(chosen)
        for sd in FINE_SDS if pool_priors.axes.is_continuous.any() else ():
            refined = pool_priors.unseen(pool_priors.perturbed(best.internal, FINE_COUNT, rng, sd), past)
            both = pool_priors.pool(np.concatenate([best.internal, refined.internal]))
            best = both.rows(self._first_feasible_rows(both, _ranked(model.acquisition(both), rng), REFINED_COUNT))
        return best.params[0]

    def _first_feasible(self, pool: Pool, ranked: Array) -> Params:
        rows = self._first_feasible_rows(pool, ranked, 1)
        return pool.params[rows[0]] if len(rows) else {}

    def _first_feasible_rows(self, pool: Pool, ranked: Array, count: int) -> Array:
        rows: list[int] = []
        for index in ranked:
            if len(rows) == count:
                break
            if self._prior.feasible is None or self._prior.feasible(pool.params[index]):
                rows.append(index)
        return np.array(rows, dtype=int)

    def _value_of(self, direction: StudyDirection) -> Callable[[float], float]:
        if direction is StudyDirection.MINIMIZE:
            return lambda value: -value
        if self._options.log_error:
            return lambda value: -math.log10(max(1.0 - value, MIN_ERROR))
        return lambda value: value

    def _rng(self, trial: FrozenTrial, *more: int) -> np.random.Generator:
        return np.random.default_rng((self._seed or 0, trial.number, *more))


@cache
def _threads() -> Any:
    """Limits BLAS to one thread: 0.03 s per proposal at 200 trials (two on a busy machine: 0.1 s), equal bits."""
    import scipy.linalg  # noqa: F401 - SciPy's own BLAS must be loaded before the controller looks for libraries
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass(frozen=True, slots=True)
class _Model:
    gp: GaussianProcess
    front: Front
    eta: float
    on_score: bool

    def acquisition(self, pool: Pool) -> Array:
        mean, sd = self.gp.predict(pool.features)
        gain = expected_gain(mean, sd, pool.variants, self.front, on_score=self.on_score)
        return np.asarray(gain / pool.train_usd**self.eta)


def _posterior(past: Observations, groups: Array) -> GaussianProcess:
    """Fit the second objective; pending trials are imputed with their predicted mean."""
    known, pending = past.known, np.flatnonzero(np.isnan(past.values))
    features = past.pool.features
    gp = GaussianProcess.fit(features[known], past.values[known], groups=groups, extra_sd=past.extra_sd[known])
    return gp.extended(features[pending], gp.predict(features[pending])[0]) if len(pending) else gp


def _front(gp: GaussianProcess, past: Observations, pool: Pool, baselines: Sequence[tuple[float, float]]) -> Front:
    """The front of predicted means: a lucky score must not hide possible improvements near it."""
    ships = np.flatnonzero(past.ships & past.pool.variants.is_servable)
    variants = past.pool.variants.rows(ships).concatenated(VariantTable.of([[(cost, 0.0)] for cost, _ in baselines]))
    means = gp.predict(past.pool.features[ships])[0] if len(ships) else np.zeros(0)
    costs = np.concatenate([variants.log_costs.ravel(), pool.variants.log_costs.ravel()])
    costs = costs[np.isfinite(costs)]
    values = np.concatenate([means, [value for _, value in baselines]])
    floor = float(min([*past.values[past.known], *(value for _, value in baselines)]))
    return Front.of(variants, values, span=(float(costs.min()), float(costs.max())), floor=floor)


def _ranked(acquisition: Array, rng: np.random.Generator) -> Array:
    """Indices by descending acquisition; ties in random order."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (TIE_DIGITS - np.ceil(np.log10(np.maximum(acquisition, 1e-300))))
    rounded = np.round(acquisition * scale) / scale
    return np.lexsort((rng.random(len(acquisition)), -rounded))
