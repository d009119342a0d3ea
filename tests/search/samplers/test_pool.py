import math

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from lft_ray.search.samplers.axes import Axes
from lft_ray.search.samplers.pool import CENTRED_SD, PoolPriors, _clipped, _elites
from lft_ray.search.samplers.priors import EXPECTED_VALUE

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {"rate": FloatDistribution(1e-5, 1e-1, log=True), "size": IntDistribution(0, 3)}
COST = [1.0, 2.0, 4.0, 8.0]


def pool_priors(space=SPACE, **functions) -> PoolPriors:
    fields = {"cost": lambda params: COST[params["size"]], "train_usd": None, "centre": None}
    return PoolPriors(Axes.of(space), **(fields | functions))


def trial(
    size: int, value: float | None = None, state=TrialState.COMPLETE, rate: float = 1e-3, **attributes
) -> FrozenTrial:
    values = None if value is None else [COST[size], value]
    params = {"rate": 1e-3, "size": size}
    return create_trial(state=state, params=params, distributions=SPACE, values=values, user_attrs=attributes)


def past_of(*trials: FrozenTrial, priors: PoolPriors | None = None):
    return (priors or pool_priors()).past(trials, lambda value: value, 0.03)


def test_past_trials_are_observed_by_their_state():
    past = past_of(
        trial(0, 0.6),
        trial(1, state=TrialState.PRUNED, **{EXPECTED_VALUE: 0.7}),
        trial(1, state=TrialState.PRUNED),  # without an expected value there is nothing to learn
        trial(2, state=TrialState.RUNNING),
        trial(3, state=TrialState.FAIL),
    )
    assert np.isnan(past.values).tolist() == [False, False, True, False]
    assert past.values[:2].tolist() == [0.6, 0.7]
    assert past.values[3] == past.values[[0, 1]].min(), "a failed trial counts as the worst"
    assert past.extra_sd.tolist() == [0.0, 0.03, 0.0, 0.0]
    assert past.ships.tolist() == [True, False, True, False]


def test_a_diverged_value_is_clipped_towards_the_median():
    clipped = _clipped(np.array([0.05, 0.90, 0.91, np.nan]))
    assert clipped[:3].tolist() == [0.90 - (0.91 - 0.90), 0.90, 0.91]
    assert math.isnan(clipped[3])


def test_elites_are_the_finished_trials_on_the_front_cheapest_first():
    past = past_of(trial(0, 0.6), trial(1, 0.5), trial(2, 0.8), trial(3, 0.7), trial(1, state=TrialState.RUNNING))
    assert _elites(past).tolist() == [0, 2]


def test_a_discrete_space_is_listed_without_the_configurations_that_ran():
    space = {"size": SPACE["size"]}
    priors = pool_priors(space, cost=lambda params: [] if params["size"] == 3 else COST[params["size"]])
    ran = create_trial(params={"size": 1}, distributions=space, values=[2.0, 0.5])
    pool = priors.candidates(past_of(ran, priors=priors), 100, np.random.default_rng(0))
    assert [params["size"] for params in pool.params] == [0, 2], "size 1 ran, size 3 has no variant to serve"


def test_candidates_near_a_centre_stay_around_it():
    priors = pool_priors(centre=lambda params: {"rate": -3.0})
    pool = priors.candidates(past_of(priors=priors), 400, np.random.default_rng(0), near_centre=True)
    exponents = np.log10([params["rate"] for params in pool.params])
    assert abs(exponents.mean() + 3.0) < 0.1
    assert abs(exponents.std() - CENTRED_SD * 4) < 0.1, "the axis is four decades long"


def test_perturbed_candidates_move_in_continuous_parameters_alone():
    priors = pool_priors()
    internal = np.array([[1e-3, 2.0], [math.nan, 1.0]])
    moved = priors.perturbed(internal, 5, np.random.default_rng(0), 0.05)
    assert moved[:, 1].tolist() == [2.0] * 5 + [1.0] * 5
    assert len(set(moved[:5, 0])) == 5
    assert np.isnan(moved[5:, 0]).all()
