import pytest

from lft_ray.candidates import Candidates
from lft_ray.config import ModelSpec
from lft_ray.models.sizes import model_sizes
from lft_ray.plan.history import RunHistory
from lft_ray.plan.serving_costs import (
    DEFAULT_MATMUL_FLOPS_PER_S,
    ServingCosts,
    matmul_flops_per_core_s,
    predicted_core_s_per_text,
)
from tests import handed_down
from tests.plan.test_estimate import book, changed, profile


def costs_of(experiment, dataset, history=None, measure=None, **parts) -> ServingCosts:
    made = changed(experiment, **parts)
    return ServingCosts.of(
        Candidates.of(made, dataset), dataset, handed_down.specs(made), history or RunHistory(), measure
    )


def size_of(costs: ServingCosts, name: str):
    return next(size for size in costs.candidates.sizes if size.name == name)


@pytest.mark.parametrize(("layers", "measured_ms"), [(1, 1.23), (3, 3.53), (6, 6.74)])
def test_predictions_agree_with_the_profiles_that_the_constants_come_from(layers, measured_ms):
    size = model_sizes([ModelSpec(base="minilm", layers=[layers])])[0]
    predicted = predicted_core_s_per_text(size.flops_per_text(22), 95e9, is_linear=False)
    assert 1000 * predicted == pytest.approx(measured_ms, rel=0.07)


def test_lower_precision_is_predicted_to_be_faster_and_a_linear_model_does_not_depend_on_the_matrix_rate():
    fp32, bf16, int8 = (
        predicted_core_s_per_text(1e8, 5e10, is_linear=False, precision=name) for name in ("fp32", "bf16", "int8")
    )
    assert fp32 > bf16 > int8
    assert predicted_core_s_per_text(1e3, 1e9, is_linear=True) == predicted_core_s_per_text(1e3, 1e11, is_linear=True)


def test_the_matrix_rate_is_measured_only_if_a_cost_must_be_predicted(experiment, dataset):
    calls = []

    def measure() -> float:
        calls.append(1)
        return 1e11

    costs = costs_of(experiment, dataset, measure=measure)
    assert (costs.flops_per_s, len(calls)) == (1e11, 1)
    assert "100 GFLOP/s" in costs.rates
    names = ["tfidf", "minilm:1", "minilm:6"]
    history = RunHistory(profiles={(n, "fp32", 32): profile(n, 0.002) for n in names}, ingress=book([]).ingress)
    assert costs_of(experiment, dataset, history, measure).flops_per_s == DEFAULT_MATMUL_FLOPS_PER_S
    assert len(calls) == 1


def test_a_profiled_size_is_measured_and_the_caps_apply_to_its_latency(experiment, dataset):
    history = RunHistory(profiles={("minilm:1", "fp32", 32): profile("minilm:1", 0.002)}, ingress=book([]).ingress)
    costs = costs_of(experiment, dataset, history, cost={"traffic": {"p95_ms": 5}})
    assert [costs.usd(size_of(costs, name))[1] for name in ("minilm:1", "minilm:6")] == ["measured", "predicted"]
    assert costs.p95_ms(size_of(costs, "minilm:1")) == 6
    assert costs.p95_ms(size_of(costs, "minilm:6")) is None
    assert costs.breach(size_of(costs, "minilm:1")) == "as measured, p95 6 ms is above cost.traffic.p95_ms 5"
    assert costs.breach(size_of(costs, "minilm:6")) == ""


def test_a_core_has_a_positive_matrix_rate():
    assert 1e8 < matmul_flops_per_core_s(seconds=0.01, repeats=1) < 1e13
