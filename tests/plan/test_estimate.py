"""A plan agrees with the study's own objects, marks what is predicted, and spends nothing."""

import math

import pytest

from lft_ray import pipeline
from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle, Node
from lft_ray.cluster.environment import machine
from lft_ray.config import Experiment
from lft_ray.cost.forecast import mean_tokens
from lft_ray.errors import ConfigError
from lft_ray.plan.estimate import PlanJob, estimate
from lft_ray.plan.history import RunHistory
from lft_ray.records import IngressProfile, ProfileBook, ServingProfile, TrialConfig, TrialRecord, TrialStatus
from tests import handed_down

SIZES = ["tfidf", "minilm:1", "minilm:6"]
TWO_CORES = ClusterHandle("", (Node("here", 2, 0),), owned=False)
RATE = 5e10


def profile(size: str, core_s: float, **change) -> ServingProfile:
    fields = {
        "model_size": size, "precision": "fp32", "max_length": 32,
        "engine": "sklearn" if size == "tfidf" else "onnxruntime",
        "device": "cpu", "machine": machine(), "threads": 1, "core_s_per_text": core_s, "texts_per_s": 1 / core_s,
        "p50_ms": 3, "p95_ms": 6, "p99_ms": 9, "load_requests_per_s": 10, "peak_bytes": 1, "repeats": 3, "spread": 0.0,
        "texts_measured": 10,
    }  # fmt: skip
    return ServingProfile(**{**fields, **change})


def book(profiles, where: str = "") -> ProfileBook:
    ingress = IngressProfile(
        machine=where or machine(), core_s_per_request=4e-4, requests_measured=1, repeats=3, spread=0.0
    )
    return ProfileBook(ingress=ingress, profiles=profiles)


def changed(experiment: Experiment, **parts) -> Experiment:
    tree = experiment.model_dump(mode="json")
    for name, values in parts.items():
        tree[name] = tree[name] | values if isinstance(values, dict) else values
    return Experiment.model_validate(tree)


def plan(experiment, dataset, history=None, **limits):
    made = changed(experiment, **limits)
    job = PlanJob(made.name, Candidates.of(made, dataset), dataset, handed_down.specs(made))
    return estimate(job, TWO_CORES, history or RunHistory(), lambda: RATE)


def row(found, size: str):
    return next(c for c in found.candidates if c.model_size == size)


def test_the_numbers_are_those_of_the_studys_own_admission(experiment, dataset):
    found = plan(experiment, dataset)
    admission = handed_down.admission(experiment, handed_down.workload(experiment, dataset), started_s=0.0)
    assert [c.model_size for c in found.candidates] == SIZES
    for candidate in found.candidates:
        assert candidate.predicted_usd == admission.expected_usd(candidate.default)
        assert candidate.worst_usd == admission.worst_usd(candidate.default)
        assert candidate.predicted_s == admission.expected(candidate.default).wall_s
    assert found.mean_tokens == mean_tokens(dataset, 32)


def test_the_seed_ratio_is_parameters_over_the_root_of_the_train_rows(experiment, dataset):
    found = plan(experiment, dataset)
    large = row(found, "minilm:6")
    assert large.seed_ratio == pytest.approx(large.parameters / math.sqrt(found.rows["train"]))
    assert (row(found, "tfidf").seed_ratio, row(found, "tfidf").parameters) == (None, None)


def test_without_an_earlier_run_every_serving_cost_is_called_predicted(experiment, dataset):
    found = plan(experiment, dataset)
    assert {c.serving_source for c in found.candidates} == {"predicted"}
    assert "50 GFLOP/s" in found.serving_rates
    assert all(c.p95_ms is None for c in found.candidates)
    costs = [c.serving_usd_per_million for c in found.candidates]
    assert costs == sorted(costs)
    assert costs[0] > 0


def test_a_size_that_was_profiled_is_measured_and_the_others_stay_predicted(experiment, dataset):
    measured = profile("minilm:1", 0.002)
    history = RunHistory(profiles={("minilm:1", "fp32", 32): measured}, ingress=book([]).ingress)
    found = plan(experiment, dataset, history)
    assert [c.serving_source for c in found.candidates] == ["predicted", "measured", "predicted"]
    assert row(found, "minilm:1").serving_usd_per_million == handed_down.pricing(experiment, book([measured])).cost(
        "minilm:1"
    )
    assert row(found, "minilm:1").p95_ms == 6


def test_the_worst_case_bounds_every_trial_that_the_search_may_start(experiment, dataset):
    found = plan(experiment, dataset)
    admission = handed_down.admission(experiment, handed_down.workload(experiment, dataset), started_s=0.0)
    most_expensive = admission.worst_usd(TrialConfig(model_size="minilm:6", epochs=2, max_length=32))
    starts = sum(c.worst_usd for c in found.candidates)
    assert found.worst_search_usd == pytest.approx(starts + 5 * most_expensive)
    assert (found.confirmation_trials, found.worst_confirm_usd) == (2, pytest.approx(2 * most_expensive))
    assert found.held_to_usd == found.worst_usd == pytest.approx(starts + 7 * most_expensive)
    assert found.expected_usd < found.worst_search_usd
    assert found.expected_trials == 8


def test_a_budget_holds_it_and_what_does_not_fit_is_named(experiment, dataset):
    free = plan(experiment, dataset)
    # The share for fresh seeds is kept, so that the two smaller sizes fit and the largest does not.
    usd = row(free, "minilm:6").worst_usd / 0.7 * 0.99
    found = plan(experiment, dataset, search={"budget_usd": usd, "trials": 8})
    assert found.held_to_usd == found.budget_usd == usd
    assert found.kept_for_confirmation_usd == pytest.approx(0.3 * usd)
    assert "exceeds the remaining budget" in row(found, "minilm:6").refused
    assert row(found, "tfidf").refused == ""
    assert found.expected_usd <= usd * 0.7


def test_minutes_bound_the_dollars_and_the_trials(experiment, dataset):
    found = plan(experiment, dataset, search={"minutes": 0.5, "trials": 8})
    assert found.expected_trials < 8
    assert found.expected_minutes <= 0.5 * 0.7 + 1e-9
    assert found.minutes_usd == pytest.approx(0.5 * 60 * 2 * found.usd_per_core_hour / 3600)
    assert found.held_to_usd <= found.minutes_usd
    assert any("search.minutes" in note for note in found.notes)


def test_a_cap_on_serving_dollars_refuses_with_the_source_named(experiment, dataset):
    cap = row(plan(experiment, dataset), "minilm:1").serving_usd_per_million * 1.01
    found = plan(experiment, dataset, selection={"max_usd_per_million": cap})
    assert row(found, "minilm:6").refused.startswith("predicted $")
    assert row(found, "minilm:1").refused == ""


def test_a_latency_cap_is_checked_where_it_was_measured_only(experiment, dataset):
    history = RunHistory(
        profiles={("minilm:1", "fp32", 32): profile("minilm:1", 0.002, p95_ms=50)}, ingress=book([]).ingress
    )
    found = plan(experiment, dataset, history, cost={"traffic": {"p95_ms": 20}})
    assert "p95" in row(found, "minilm:1").refused
    assert row(found, "minilm:6").refused == ""
    assert any("cannot be checked before profiling" in note for note in found.notes)


def test_a_plan_counts_the_teachers_passes(experiment, dataset):
    sizes = [{"base": "minilm", "layers": [5, 6]}]
    training = {"max_length": 32, "epochs": [1], "method": ["full", "distill"]}
    full = plan(experiment, dataset, models=sizes, training=training | {"method": ["full"]})
    found = plan(experiment, dataset, models=sizes, training=training)
    workload = handed_down.workload(changed(experiment, models=sizes, training=training), dataset)
    teacher = TrialRecord(trial_id="t1", attempt=1, config=TrialConfig(model_size="minilm:6"), status=TrialStatus.DONE)
    student = TrialConfig(model_size="minilm:5", method="distill", teacher="t1", epochs=1, max_length=32)
    admission = handed_down.admission(
        changed(experiment, models=sizes, training=training), workload, started_s=0.0, ran=lambda: [teacher]
    )
    # One epoch of five layers and the teacher's pass of six: more expensive than an epoch of six.
    assert admission.worst_usd(student) > row(full, "minilm:6").worst_usd
    starts = sum(c.worst_usd for c in found.candidates)
    assert found.worst_search_usd == pytest.approx(starts + 6 * admission.worst_usd(student))
    assert full.worst_search_usd == pytest.approx(starts + 6 * row(full, "minilm:6").worst_usd)
    assert found.expected_trials == full.expected_trials == 8


def test_a_plan_refuses_what_cannot_be_distilled(experiment):
    with pytest.raises(ConfigError, match="distill_loss"):
        pipeline.plan(
            changed(
                experiment,
                task={"kind": "tests.search.test_preflight:NoDistillLoss"},
                training={"method": ["full", "distill"]},
            )
        )
