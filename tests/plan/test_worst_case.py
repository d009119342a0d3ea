import pytest

from lft_ray.config.methods import DISTILL
from lft_ray.plan.worst_case import Totals, most_expensive, totals
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus
from tests import handed_down
from tests.plan.test_estimate import changed


def admission_for(experiment, dataset, ran=()):
    workload = handed_down.workload(experiment, dataset)
    return workload, handed_down.admission(experiment, workload, started_s=0.0, ran=lambda: list(ran))


def trials(*sizes: str) -> list[TrialConfig]:
    return [TrialConfig(model_size=size, epochs=1, batch_size=16, max_length=32) for size in sizes]


def test_totals_add_up_search_and_confirmation_and_the_smallest_limit_holds(experiment, dataset):
    made = changed(experiment, search={"trials": 4, "minutes": 2.0, "budget_usd": 1e9})
    _, admission = admission_for(made, dataset)
    queue = trials("minilm:1", "minilm:6")
    small, large = map(admission.worst_usd, queue)
    found = totals(handed_down.specs(made), admission, queue, None, slots=2, fresh_runs=3)
    assert found.search_usd == pytest.approx(small + large + 2 * large)
    assert found.confirm_usd == pytest.approx(3 * large)
    # Two trials in parallel, one core each, for two minutes.
    assert found.minutes_usd == pytest.approx(240 * admission.price.training_usd_per_core_s)
    assert found.held_to_usd == min(found.usd, found.minutes_usd)


def test_totals_without_limits_are_held_to_the_worst_case():
    assert Totals(2.0, 1.0, None, 3.0).usd == 3.0


def test_the_most_expensive_configuration_has_most_epochs_and_the_smallest_batch(experiment, dataset):
    made = changed(experiment, training={"epochs": [1, 3], "batch_size": [16, 64], "max_length": 32})
    workload, admission = admission_for(made, dataset)
    found = most_expensive(made.training, admission, list(workload.sizes.values()), [])
    assert (found.model_size, found.epochs, found.batch_size) == ("minilm:6", 3, 16)
    linear = [size for size in workload.sizes.values() if size.is_linear]
    assert most_expensive(made.training, admission, linear, []) is None


def test_the_most_expensive_configuration_counts_the_pass_of_a_teacher(experiment, dataset):
    training = {"max_length": 32, "epochs": [1], "method": ["full", "distill"]}
    made = changed(experiment, models=[{"base": "minilm", "layers": [5, 6]}], training=training)
    starts = [
        TrialRecord(trial_id=f"t{i:03d}", attempt=1, config=config, status=TrialStatus.DONE)
        for i, config in enumerate(trials("minilm:5", "minilm:6"))
    ]
    workload, admission = admission_for(made, dataset, starts)
    found = most_expensive(made.training, admission, list(workload.sizes.values()), starts)
    assert (found.model_size, found.method, found.teacher) == ("minilm:5", DISTILL, "t001")
