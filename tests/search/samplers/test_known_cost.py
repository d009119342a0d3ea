import doctest
import math
import statistics
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import lft_ray.search.samplers.known_cost
from lft_ray.search.samplers.ehvi import (
    Front,
    VariantTable,
)
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


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(lft_ray.search.samplers.known_cost).failed == 0
    assert "create_study" in lft_ray.search.samplers.known_cost.__doc__


def test_the_sampler_imports_neither_ray_nor_torch_and_the_proposer_no_optuna():
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


def test_the_sampler_finds_the_front_better_than_random():
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


def test_pending_trials_are_imputed():
    """Parallel workers get different proposals."""
    study = study_with(KnownCostSampler(CostPrior(cost), seed=0), history(15))
    together = [study.ask(SPACE).params for _ in range(4)]
    # Without pending trials each worker gets the same optimum, up to the seed.
    alone = [study_with(KnownCostSampler(CostPrior(cost), seed=s), history(15)).ask(SPACE).params for s in range(4)]

    def distinct(all_params: list[dict]) -> int:
        return len({(p["size"], p["epochs"], round(math.log10(p["rate"]), 1)) for p in all_params})

    assert distinct(together) > distinct(alone)


def test_a_stopped_region_is_not_proposed_again():
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
        proposed = [
            study_with(
                KnownCostSampler(CostPrior(cost), seed=s), trials + (bad if state is TrialState.FAIL else [])
            ).ask(SPACE)
            for s in range(5)
        ]
        return statistics.mean(t.params["rate"] > 9e-4 for t in proposed)

    assert share_of_high_rates(TrialState.FAIL) == 0.0


def test_proposals_are_feasible():
    sampler = KnownCostSampler(CostPrior(cost, feasible=lambda p: p["size"] == 1 and p["epochs"] == 2), seed=0)
    params = study_with(sampler, history(12)).ask(SPACE).params
    assert (params["size"], params["epochs"]) == (1, 2)
    capped = KnownCostSampler(CostPrior(lambda p: [] if cost(p) > 3 else cost(p)), seed=0)
    for seed in range(3):
        assert study_with(capped, history(12, seed)).ask(SPACE).params["size"] <= 1


def test_a_baseline_removes_the_gain_of_what_it_dominates():
    """Something at the cost of the smallest size that is better than all but the two largest can be."""
    baselines = [(1.0, 0.871)]
    proposed = [
        study_with(KnownCostSampler(CostPrior(cost, baselines=baselines), seed=s), history(15, s)).ask(SPACE)
        for s in range(6)
    ]
    assert min(trial.params["size"] for trial in proposed) >= 2
    without = [study_with(KnownCostSampler(CostPrior(cost), seed=s), history(15, s)).ask(SPACE) for s in range(6)]
    assert min(trial.params["size"] for trial in without) < 2


def test_expensive_training_is_proposed_less():
    def dollars(eta: float) -> float:
        sampled = [
            study_with(KnownCostSampler(CostPrior(cost, train_usd), SamplerOptions(eta=eta), seed=s), history(10, s))
            .ask(SPACE)
            .params
            for s in range(6)
        ]
        return statistics.mean(train_usd(p) for p in sampled)

    assert dollars(2.0) < 0.7 * dollars(0.0)


def test_a_cheap_variant_makes_an_expensive_size_more_attractive():
    """The largest size adds nothing at its own cost, but would as the cheapest."""
    trials = [ended({"size": s, "rate": 3e-4, "epochs": e}) for s in range(5) for e in (1, 2)]

    def sizes(ways) -> list[int]:
        proposed = [
            study_with(KnownCostSampler(CostPrior(ways), seed=s), trials).ask(SPACE).params["size"] for s in range(4)
        ]
        return sorted(proposed)

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
    proposed = [study.ask(SPACE).params for _ in range(40)]
    off = [math.log10(p["rate"]) - centre[p["size"]] for p in proposed]
    assert statistics.median(abs(o) for o in off) < 0.4
    assert len({p["size"] for p in proposed}) == 5


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
