"""The built-in Optuna samplers, by their ``search.sampler`` names. A new sampler is created for every proposal.

A custom sampler is given as ``package.module:Name`` of a callable ``(seed, startup_trials) -> optuna BaseSampler``. It
sees two objectives, both minimised (log10 dollars per million predictions, log10(1 - F1)), and integer, float or
categorical parameters; integers are positions in the ordered values of a dimension, categories (methods) have no order.
A callable with a third parameter ``cost_prior`` also receives the prior knowledge about trials
(`lft_ray.search.samplers.priors.CostPrior`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lft_ray.search.samplers.priors import CostPrior

__all__ = ["gp", "known_cost", "tpe", "uniform"]


def gp(seed: int, startup_trials: int) -> Any:
    """Gaussian processes with expected hypervolume improvement: suited to at most a few hundred trials."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False)


def tpe(seed: int, startup_trials: int) -> Any:
    """Multivariate tree-structured Parzen estimator: fast even with thousands of trials."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, warn_independent_sampling=False)


def uniform(seed: int, startup_trials: int) -> Any:
    """Uniform random search: the baseline."""
    from optuna.samplers import RandomSampler

    del startup_trials
    return RandomSampler(seed=seed)


def known_cost(seed: int, startup_trials: int, cost_prior: "CostPrior", **options: Any) -> Any:
    """One Gaussian process on F1, known serving costs, improvement per training dollar. 0.03 s per proposal.

    Args:
        seed: seed of the proposal.
        startup_trials: number of finished trials before the model is used.
        cost_prior: serving costs, training dollars and limits of the search.
        options: fields of `lft_ray.search.samplers.known_cost.SamplerOptions`, such as ``eta``.
    """
    from lft_ray.search.samplers.known_cost import KnownCostSampler, SamplerOptions

    return KnownCostSampler(cost_prior, SamplerOptions(n_startup_trials=startup_trials, **options), seed)
