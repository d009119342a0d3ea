import doctest
import math
import statistics
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import lft_ray.search.samplers.known_cost
from lft_ray.search.samplers.axes import Axes
from lft_ray.search.samplers.ehvi import (
    Front,
    VariantTable,
    expected_gain,
    expected_improvement,
    expected_score_improvement,
)
from lft_ray.search.samplers.gp import GaussianProcess, _loss, _priors
from lft_ray.search.samplers.known_cost import KnownCostSampler, SamplerOptions
from lft_ray.search.samplers.priors import EXPECTED_VALUE, CostPrior

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {
    "size": IntDistribution(0, 4),
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "epochs": IntDistribution(1, 3),
}
SERVING = [1.0, 2.0, 5.0, 12.0, 30.0]


def cost(params: dict) -> float:
    return SERVING[params["size"]]


def train_usd(params: dict) -> float:
    return (0.1 + SERVING[params["size"]]) * params["epochs"]


def score(params: dict) -> float:
    """Better when larger and longer, best at a rate of 3e-4, and useless above 4e-3."""
    if params["rate"] > 4e-3:
        return 0.05
    off = math.log10(params["rate"] / 3e-4)
    return 0.80 + 0.02 * params["size"] + 0.01 * params["epochs"] - 0.06 * off * off


def study_with(sampler, trials=(), directions=("minimize", "maximize")) -> optuna.Study:
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    for trial in trials:
        study.add_trial(trial)
    return study


def ended(params: dict, value: float | None = None, state=TrialState.COMPLETE, **attributes):
    values = None if state is not TrialState.COMPLETE else [cost(params), score(params) if value is None else value]
    distributions = {name: SPACE[name] for name in params}
    return create_trial(state=state, params=params, distributions=distributions, values=values, user_attrs=attributes)


def history(count: int, seed: int = 0) -> list:
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = study_with(sampler)
    return [ended(study.ask(SPACE).params) for _ in range(count)]


# ---------------------------------------------------------------- the gain


@pytest.mark.parametrize("mean", [-1.0, 0.2, 3.0])
def test_expected_improvement_against_monte_carlo(mean):
    draws = np.random.default_rng(0).normal(mean, 0.7, 400_000)
    exact = expected_improvement(np.array(mean), np.array(0.7), np.array(0.5))
    assert exact == pytest.approx(np.maximum(draws - 0.5, 0).mean(), abs=4e-3)
    scores = np.maximum((1 - 10**-draws) - (1 - 10**-0.5), 0).mean()
    assert expected_score_improvement(np.array(mean), np.array(0.7), np.array(0.5)) == pytest.approx(scores, abs=4e-3)


def test_expected_gain_against_monte_carlo():
    """Several ways of serving share one unknown value; the area is measured on the staircase itself."""
    rng = np.random.default_rng(1)
    have = VariantTable.of([[(1.0, 0.0), (0.6, -0.1)], [(10.0, 0.0)], [(4.0, 0.0), (2.0, -0.3)], []])
    values = np.array([0.6, 1.2, 0.9, 5.0])
    span, floor = (math.log10(0.5), math.log10(40.0)), 0.2
    front = Front.of(have, values, span=span, floor=floor)
    candidates = VariantTable.of([[(3.0, 0.0), (1.5, -0.05)], [(20.0, 0.0)], [(0.5, 0.1), (6.0, 0.02)], [(0.7, 0.0)]])
    mean, sd = np.array([0.95, 1.25, 0.5, 0.1]), np.array([0.2, 0.1, 0.3, 0.05])
    exact = expected_gain(mean, sd, candidates, front)
    for i in range(4):
        both = VariantTable(
            np.concatenate([have.log_costs, candidates.log_costs[i : i + 1]]),
            np.concatenate([have.offsets, candidates.offsets[i : i + 1]]),
        )
        grown = [
            Front.of(both, np.append(values, draw), span=span, floor=floor).area(floor)
            for draw in rng.normal(mean[i], sd[i], 4_000)
        ]
        gains = np.array(grown) - front.area(floor)
        assert exact[i] == pytest.approx(gains.mean(), abs=5 * gains.std() / math.sqrt(4_000) + 1e-6)


def test_a_dear_way_of_serving_adds_nothing_to_a_cheap_one_that_is_as_good():
    front = Front.of(VariantTable.of([[(2.0, 0.0)]]), np.array([1.0]), span=(0.0, 1.0), floor=0.0)
    one, two = VariantTable.of([[(1.0, 0.0)]]), VariantTable.of([[(1.0, 0.0), (5.0, -0.2)]])
    mean, sd = np.array([1.0]), np.array([0.1])
    assert expected_gain(mean, sd, one, front) == expected_gain(mean, sd, two, front)
    assert expected_gain(mean, sd, VariantTable.of([[(1.0, 0.0), (5.0, 0.2)]]), front) > expected_gain(
        mean, sd, one, front
    )


# ---------------------------------------------------------------- the model


def test_gradient_of_the_hyperparameters():
    rng = np.random.default_rng(0)
    x, z = rng.random((15, 2)), rng.normal(size=15)
    squares = np.stack([((x[:, None, i] - x[None, :, i]) ** 2).ravel() for i in range(2)])
    means, deviations = _priors(2)
    at = means + 0.2

    def loss(point):
        return _loss(point, squares, z, np.full(15, 0.01), means, deviations)

    numeric = [(loss(at + 1e-5 * e)[0] - loss(at - 1e-5 * e)[0]) / 2e-5 for e in np.eye(4)]
    assert loss(at)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_the_model_learns_a_curve_its_noise_and_what_does_not_matter():
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(4 * x[:, 0]) + 0.05 * rng.normal(size=60)
    gp = GaussianProcess.fit(x, y, groups=np.array([0, 1]))
    grid = rng.random((500, 2))
    mean, sd = gp.predict(grid)
    off = mean - np.sin(4 * grid[:, 0])
    assert np.sqrt((off**2).mean()) < 0.04
    assert 0.5 < np.sqrt(((off / sd) ** 2).mean()) < 2.0
    assert gp.log_scales[1] > gp.log_scales[0] + 1.0
    assert np.exp(gp.log_scales[-2]) * gp.scaling[1] == pytest.approx(0.05, rel=0.4)


def test_extra_noise_pulls_less():
    x, y = np.array([[0.0], [0.5], [1.0]]), np.array([0.0, 1.0, 0.0])
    # The deviations cannot be compared: two sure values of 0 and one of no weight make a flatter, surer function.
    sure = GaussianProcess.fit(x, y, groups=np.array([0]), extra_sd=np.zeros(3))
    unsure = GaussianProcess.fit(x, y, groups=np.array([0]), extra_sd=np.array([0.0, 2.0, 0.0]))
    middle = np.array([[0.5]])
    assert unsure.predict(middle)[0] < sure.predict(middle)[0]


def test_a_believed_point_leaves_the_mean_and_takes_the_doubt():
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 2)), rng.normal(size=12)
    gp = GaussianProcess.fit(x, y, groups=np.array([0, 1]))
    new = np.array([[0.9, 0.1]])
    mean, sd = gp.predict(new)
    after, doubt = gp.extended(new, mean).predict(new)
    assert after == pytest.approx(mean, abs=1e-6)
    assert doubt < sd


def test_equal_values_are_survived():
    gp = GaussianProcess.fit(np.zeros((4, 1)), np.full(4, 0.5), groups=np.array([0]))
    mean, sd = gp.predict(np.array([[0.0], [1.0]]))
    assert mean == pytest.approx([0.5, 0.5])
    assert np.all(sd > 0)


# ---------------------------------------------------------------- parameters as numbers


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(2, 9), [2, 5, 9]),
        (IntDistribution(2, 10, step=4), [2, 6, 10]),
        (IntDistribution(1, 1000, log=True), [1, 30, 1000]),
        (FloatDistribution(1e-5, 1e-1, log=True), [1e-5, 1e-3, 1e-1]),
        (FloatDistribution(-1.0, 1.0), [-1.0, 0.2, 1.0]),
        (FloatDistribution(0.0, 1.0, step=0.25), [0.0, 0.25, 1.0]),
        (CategoricalDistribution(["a", None, 3]), ["a", None, 3]),
    ],
)
def test_parameters_go_to_numbers_and_back(distribution, values):
    axes = Axes.of({"p": distribution})
    internal = np.array([axes.numbers({"p": value}) for value in values])
    back = [axes.params(row)["p"] for row in axes.internal(axes.cube(internal)).tolist()]
    assert back == pytest.approx(values) if isinstance(values[0], float) else back == values
    everywhere = axes.internal(axes.spread_out(500, np.random.default_rng(0)))
    assert all(distribution._contains(value) for value in everywhere[:, 0])


def test_places_order_and_kinds_of_values():
    space = {"method": IntDistribution(0, 1), "size": IntDistribution(0, 2)}
    axes = Axes.of(space, {"method": None, "size": [0.0, 1.0, 4.0]}, {"size": ["x", "y", "y"]})
    assert axes.groups.tolist() == [0, 0, 1, 2, 2]
    features = axes.features(np.array([[0.0, 1.0], [1.0, 2.0], [math.nan, math.nan]]), np.full((3, 2), np.nan))
    half = math.sqrt(0.5)
    assert features == pytest.approx(np.array([[half, 0, 0.25, 0, half], [0, half, 1.0, 0, half], [0, 0, 0.5, 0, 0]]))


# ---------------------------------------------------------------- the sampler


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(lft_ray.search.samplers.known_cost).failed == 0
    assert "create_study" in lft_ray.search.samplers.known_cost.__doc__


def test_it_needs_neither_ray_nor_torch_and_the_table_needs_no_optuna():
    def loaded(statement: str) -> set[str]:
        code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
        return set(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        )

    assert not {"ray", "torch", "sklearn", "scipy"} & loaded("import lft_ray.search.samplers.known_cost")
    assert not {"optuna", "numpy", "scipy"} & loaded(
        "import lft_ray.search.samplers.proposer, lft_ray.search.samplers.builtin"
    )


def best_of(sampler_of, seed: int, trials: int) -> float:
    """Area under the true front, in score x decades, after so many training dollars' worth of trials."""
    study = study_with(sampler_of(seed))
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, [cost(trial.params), score(trial.params) + 0.004 * rng.normal()])
    offers = VariantTable.of([[(cost(t.params), 0.0)] for t in study.trials])
    values = np.array([score(t.params) for t in study.trials])
    return Front.of(offers, values, span=(0.0, math.log10(30.0)), floor=0.7).area(0.7)


def test_it_finds_the_front_better_than_random():
    ours = [best_of(lambda seed: KnownCostSampler(CostPrior(cost), seed=seed), seed, 22) for seed in range(4)]
    uniform = [best_of(lambda seed: optuna.samplers.RandomSampler(seed=seed), seed, 22) for seed in range(4)]
    assert statistics.mean(ours) > statistics.mean(uniform) + 0.015
    assert min(ours) > statistics.mean(uniform)


@pytest.mark.parametrize("directions", [("minimize", "maximize"), ("minimize", "minimize")])
def test_both_directions_find_the_rate(directions):
    sign = 1 if directions[1] == "maximize" else -1
    study = study_with(KnownCostSampler(CostPrior(cost), seed=0), directions=directions)
    for _ in range(20):
        trial = study.ask(SPACE)
        f1 = score(trial.params)
        study.tell(trial, [cost(trial.params), f1 if sign > 0 else math.log10(1 - f1)])
    rates = [math.log10(t.params["rate"] / 3e-4) for t in study.trials[12:]]
    assert statistics.median(abs(r) for r in rates) < 0.4


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "maximize"], ["minimize"] * 3])
def test_other_directions_are_refused(directions):
    study = optuna.create_study(directions=directions, sampler=KnownCostSampler(CostPrior(cost), seed=0))
    study.enqueue_trial({"x": 1})
    study.tell(study.ask({"x": IntDistribution(0, 3)}), [0.0] * len(directions))
    with pytest.raises(ValueError, match="KnownCostSampler needs directions"):
        study.ask({"x": IntDistribution(0, 3)})


def test_equal_trials_and_seeds_give_equal_proposals_in_any_process():
    code = (
        "from tests.search.samplers.test_known_cost import *\n"
        "print(study_with(KnownCostSampler(CostPrior(cost), seed=5), history(15)).ask(SPACE).params)"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == str(study_with(KnownCostSampler(CostPrior(cost), seed=5), history(15)).ask(SPACE).params)


def test_no_trial_is_repeated_and_a_listed_space_is_used_up():
    space = {"size": IntDistribution(0, 4), "epochs": IntDistribution(1, 3)}
    study = study_with(KnownCostSampler(CostPrior(cost), SamplerOptions(n_startup_trials=3), seed=0))
    for _ in range(15):
        trial = study.ask(space)
        study.tell(trial, [cost(trial.params), 0.5 + 0.01 * trial.params["size"]])
    seen = [tuple(sorted(t.params.items())) for t in study.trials]
    # The first has no space to look at yet, so all but it are chosen: each is new.
    assert len(set(seen)) == 15


def test_pending_trials_are_believed():
    """Workers that ask at the same time are sent to different places."""
    study = study_with(KnownCostSampler(CostPrior(cost), seed=0), history(15))
    together = [study.ask(SPACE).params for _ in range(4)]
    # What each would be told if it did not know of the others: the same optimum, up to the seed.
    alone = [study_with(KnownCostSampler(CostPrior(cost), seed=s), history(15)).ask(SPACE).params for s in range(4)]

    def places(all_params: list[dict]) -> int:
        return len({(p["size"], p["epochs"], round(math.log10(p["rate"]), 1)) for p in all_params})

    assert places(together) > places(alone)


def test_a_stopped_region_is_not_asked_for_again():
    trials = history(15)
    first = study_with(KnownCostSampler(CostPrior(cost), seed=0), trials).ask(SPACE).params
    poor = ended(first, state=TrialState.PRUNED, **{EXPECTED_VALUE: score(first) - 0.08})
    then = study_with(KnownCostSampler(CostPrior(cost), seed=0), [*trials, poor]).ask(SPACE).params
    assert (then["size"], then["epochs"]) != (first["size"], first["epochs"])
    # Without an expected value it says nothing.
    silent = ended(first, state=TrialState.PRUNED)
    assert (
        study_with(KnownCostSampler(CostPrior(cost), seed=0), [*trials, silent]).ask(SPACE).params["size"]
        == first["size"]
    )


def test_failed_trials_make_their_region_unattractive():
    def share_of_high_rates(state: TrialState) -> float:
        trials = [t for t in history(40, seed=3) if t.params["rate"] < 1e-3][:12]
        bad = [ended({**t.params, "rate": 1.1e-3 + 1e-3 * i}, state=state) for i, t in enumerate(trials[:8])]
        asked = [
            study_with(
                KnownCostSampler(CostPrior(cost), seed=s), trials + (bad if state is TrialState.FAIL else [])
            ).ask(SPACE)
            for s in range(5)
        ]
        return statistics.mean(t.params["rate"] > 9e-4 for t in asked)

    assert share_of_high_rates(TrialState.FAIL) == 0.0


def test_limits_are_kept():
    sampler = KnownCostSampler(CostPrior(cost, feasible=lambda p: p["size"] == 1 and p["epochs"] == 2), seed=0)
    params = study_with(sampler, history(12)).ask(SPACE).params
    assert (params["size"], params["epochs"]) == (1, 2)
    capped = KnownCostSampler(CostPrior(lambda p: [] if cost(p) > 3 else cost(p)), seed=0)
    for seed in range(3):
        assert study_with(capped, history(12, seed)).ask(SPACE).params["size"] <= 1


def test_a_rival_takes_the_worth_of_what_it_beats():
    """Something at the cost of the smallest size that is better than all but the two largest can be."""
    baselines = [(1.0, 0.871)]
    asked = [
        study_with(KnownCostSampler(CostPrior(cost, baselines=baselines), seed=s), history(15, s)).ask(SPACE)
        for s in range(6)
    ]
    assert min(trial.params["size"] for trial in asked) >= 2
    without = [study_with(KnownCostSampler(CostPrior(cost), seed=s), history(15, s)).ask(SPACE) for s in range(6)]
    assert min(trial.params["size"] for trial in without) < 2


def test_dear_training_is_asked_for_less():
    def dollars(eta: float) -> float:
        sampled = [
            study_with(KnownCostSampler(CostPrior(cost, train_usd), SamplerOptions(eta=eta), seed=s), history(10, s))
            .ask(SPACE)
            .params
            for s in range(6)
        ]
        return statistics.mean(train_usd(p) for p in sampled)

    assert dollars(2.0) < 0.7 * dollars(0.0)


def test_a_cheap_way_of_serving_makes_a_dear_size_worth_more():
    """The largest size is worth nothing more at its own cost, but as the cheapest it would be."""
    trials = [ended({"size": s, "rate": 3e-4, "epochs": e}) for s in range(5) for e in (1, 2)]

    def sizes(ways) -> list[int]:
        asked = [
            study_with(KnownCostSampler(CostPrior(ways), seed=s), trials).ask(SPACE).params["size"] for s in range(4)
        ]
        return sorted(asked)

    def also_cheap(params):
        return [(cost(params), 0.0), *([(0.9, -0.01)] if params["size"] == 3 else [])]

    assert sizes(also_cheap) == [3, 3, 3, 3]
    assert sizes(cost) != [3, 3, 3, 3]


def test_candidates_start_near_what_is_known_to_work():
    centre = {0: -5.0, 1: -4.5, 2: -4.0, 3: -3.0, 4: -2.5}
    sampler = KnownCostSampler(
        CostPrior(cost, centre=lambda p: {"rate": centre[p["size"]]}, feasible=lambda p: True),
        SamplerOptions(n_startup_trials=99),
        seed=0,
    )
    study = study_with(sampler, history(1))
    asked = [study.ask(SPACE).params for _ in range(40)]
    off = [math.log10(p["rate"]) - centre[p["size"]] for p in asked]
    assert statistics.median(abs(o) for o in off) < 0.4
    assert len({p["size"] for p in asked}) == 5


def test_conditional_and_categorical_parameters_of_a_plain_study():
    """The rank is a parameter of one method alone, and that method is the better one."""

    def cost_of(params: dict) -> float:
        return 1.0 + params["layers"]

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        method = trial.suggest_categorical("method", ["full", "lora"])
        layers = trial.suggest_int("layers", 1, 4)
        f1 = 0.7 + 0.02 * layers
        if method == "lora":
            f1 += 0.1 - 0.05 * abs(math.log2(trial.suggest_int("rank", 2, 64, log=True)) - 4)
        return cost_of({"layers": layers}), f1

    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=KnownCostSampler(CostPrior(cost_of), seed=1)
    )
    study.optimize(objective, n_trials=30)
    assert all(("rank" in t.params) == (t.params["method"] == "lora") for t in study.trials)
    late = study.trials[12:]
    assert statistics.mean(t.params["method"] == "lora" for t in late) > 0.6
    assert statistics.median(abs(math.log2(t.params["rank"]) - 4) for t in late if "rank" in t.params) < 1.0


def test_a_proposal_at_200_trials_is_quick():
    study = study_with(KnownCostSampler(CostPrior(cost, train_usd), seed=0), history(200))
    study.ask(SPACE)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        study.ask(SPACE)
        seconds.append(time.perf_counter() - began)
    # 0.05 s on two cores at rest; the bound leaves room for a busy machine.
    assert min(seconds) < 3.0
