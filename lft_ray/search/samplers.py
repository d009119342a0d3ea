"""The built-in Optuna samplers, by the names of ``search.sampler``. Each is made afresh for every proposal.

A sampler of your own is ``package.module:Name`` of a callable ``(seed, startup_trials) -> optuna BaseSampler``. It sees
two objectives, both minimised (log10 dollars per million predictions, log10(1 - F1)), and integer, float or categorical
parameters; integers are positions in the ordered values of a dimension, categories (methods) have no order.
"""

from typing import Any

__all__ = ["gp", "tpe", "uniform"]


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
