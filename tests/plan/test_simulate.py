import pytest

from lft_ray.plan.simulate import SearchSimulation
from lft_ray.records import TrialConfig, TrialRecord
from lft_ray.search.samplers.teachers import Teachers
from lft_ray.search.space import build_space
from tests import handed_down
from tests.plan.test_estimate import changed


def test_a_simulated_search_pays_for_a_teacher_once(experiment, dataset):
    """Two sizes: every distilled trial of the smaller one after the first costs as much as full training."""
    sizes = [{"base": "minilm", "layers": [1, 6]}]
    training = {"max_length": 32, "epochs": [1], "method": ["full", "distill"]}
    tree = changed(experiment, models=sizes, training=training, search={"trials": 40})
    workload = handed_down.workload(tree, dataset)
    ended: list[TrialRecord] = []
    admission = handed_down.admission(tree, workload, started_s=0.0, ran=lambda: ended)
    starts = [TrialConfig(model_size=f"minilm:{k}", epochs=1, max_length=32) for k in (1, 6)]
    simulation = SearchSimulation(
        admission,
        Teachers({"minilm:1": 1.0, "minilm:6": 2.0}.__getitem__),
        ended,
        queue=starts,
        space=build_space(list(workload.sizes.values()), tree.training),
        trials=40,
        slots=1,
    ).run()
    distilled = [config for config in simulation.started if config.method == "distill"]
    assert len(distilled) > 5
    assert {(c.model_size, c.teacher) for c in distilled} == {("minilm:1", "t001")}
    passes = workload.sizes["minilm:6"].flops_per_token * workload.train_tokens
    extra = sum(admission.work(c) - workload.flops(c) for c in simulation.started)
    assert extra == pytest.approx(passes)


def simulate(experiment, dataset, *, trials: int, slots: int = 1, **search) -> SearchSimulation:
    tree = changed(experiment, search={"trials": trials} | search, training={"method": ["full"]})
    workload = handed_down.workload(tree, dataset)
    ended: list[TrialRecord] = []
    return SearchSimulation(
        handed_down.admission(tree, workload, started_s=0.0, ran=lambda: ended),
        Teachers({"tfidf": 0.5, "minilm:1": 1.0, "minilm:6": 2.0}.__getitem__),
        ended,
        queue=[TrialConfig(model_size=f"minilm:{k}", epochs=1, batch_size=16, max_length=32) for k in (1, 6)],
        space=build_space(list(workload.sizes.values()), tree.training),
        trials=trials,
        slots=slots,
    ).run()


def test_parallel_trials_take_less_time_and_the_same_dollars(experiment, dataset):
    one, two = simulate(experiment, dataset, trials=6), simulate(experiment, dataset, trials=6, slots=2)
    assert len(one.started) == len(two.started) == 6
    assert one.spent_usd == pytest.approx(two.spent_usd)
    assert 0.5 * one.ended_s <= two.ended_s < one.ended_s


def test_trials_that_do_not_fit_the_budget_are_refused_by_size(experiment, dataset):
    free = simulate(experiment, dataset, trials=2)
    tight = simulate(experiment, dataset, trials=2, budget_usd=free.spent_usd / 4)
    assert tight.started == []
    assert set(tight.refused) == {"minilm:1", "minilm:6"}
    assert tight.spent_usd == 0.0


def test_a_trial_that_is_running_at_the_deadline_is_stopped_and_charged_in_part(experiment, dataset):
    free = simulate(experiment, dataset, trials=1)
    # The search may use 70% of the minutes; an unmeasured time estimate does not keep the first trial from starting.
    found = simulate(experiment, dataset, trials=1, minutes=0.5 * free.ended_s / 60 / 0.7)
    assert (len(found.started), found.stopped) == (1, 1)
    assert found.ended_s == pytest.approx(0.5 * free.ended_s)
    assert found.spent_usd == pytest.approx(0.5 * free.spent_usd)
