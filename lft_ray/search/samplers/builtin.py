"""The built-in Optuna samplers, by the names of ``search.sampler``. Each is made afresh for every proposal.

A sampler of your own is ``package.module:Name`` of a callable ``(seed, startup_trials) -> optuna BaseSampler``. It sees
two objectives, both minimised (log10 dollars per million predictions, log10(1 - F1)), and integer, float or categorical
parameters; integers are positions in the ordered values of a dimension, categories (methods) have no order. One that
has a third parameter named ``cost_prior`` is also told what is known before a trial runs
(`lft_ray.search.samplers.priors.Outlook`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lft_ray.search.samplers.priors import CostPrior

__all__ = ["gp", "known_cost", "tpe", "uniform"]


def gp(seed: int, startup_trials: int) -> Any:
    """Gaussian processes and expected hypervolume improvement: best up to some hundred trials."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False)


def tpe(seed: int, startup_trials: int) -> Any:
    """Tree-structured Parzen estimators over all parameters jointly: cheap at thousands of trials."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, warn_independent_sampling=False)


def uniform(seed: int, startup_trials: int) -> Any:
    """Uniform draws: the baseline."""
    from optuna.samplers import RandomSampler

    del startup_trials
    return RandomSampler(seed=seed)


def known_cost(seed: int, startup_trials: int, cost_prior: "CostPrior", **options: Any) -> Any:
    """One Gaussian process on F1 alone: serving costs are known, and training dollars are weighed. 0.03 s a proposal.

    Args:
        seed: of the proposal.
        startup_trials: finished trials before anything is modelled.
        cost_prior: costs, training dollars and limits of the search.
        options: of `lft_ray.search.samplers.known_cost.SamplerOptions`, such as ``eta``.
    """
    from lft_ray.search.samplers.known_cost import KnownCostSampler, SamplerOptions

    return KnownCostSampler(cost_prior, SamplerOptions(n_startup_trials=startup_trials, **options), seed)
