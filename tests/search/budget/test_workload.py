from dataclasses import replace

import pytest

from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cluster.nodes import Node
from lft_ray.config import ModelSpec, SearchSpec, TrainingSpec
from lft_ray.models.sizes import model_sizes
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus
from lft_ray.search.budget.workload import COLD_START_S, Workload, lost_s, slots_of

SIZES = {size.name: size for size in model_sizes([ModelSpec(base="tfidf"), ModelSpec(base="minilm", layers=[5, 6])])}
WORKLOAD = Workload(
    sizes=SIZES,
    train_tokens=1000.0,
    validation_tokens=100.0,
    variant_tokens=dict.fromkeys(SIZES, 0.0),
    evaluations=2,
    network_device="cpu",
    train_rows=50,
    cache_bytes=1e9,
)


def config(method: str = "full", size: str = "minilm:6", **changes) -> TrialConfig:
    return TrialConfig(model_size=size, method=method, epochs=1, batch_size=16, max_length=32, **changes)


def record(trial_id: str, of: TrialConfig, status: TrialStatus = TrialStatus.DONE) -> TrialRecord:
    return TrialRecord(trial_id=trial_id, attempt=1, config=of, status=status)


def test_other_variants_add_one_validation_pass_each():
    per_token = SIZES["minilm:6"].flops_per_token
    more = replace(WORKLOAD, variant_tokens={"minilm:6": 40.0})
    assert more.flops(config()) - WORKLOAD.flops(config()) == pytest.approx(40.0 * per_token)


def test_the_first_trial_above_frozen_layers_pays_for_the_shared_activations():
    first = config("freeze", frozen_layers=4)
    other = config("freeze", frozen_layers=4, learning_rate=1e-4)
    ran = [record("t000", first)]
    shared = SIZES["minilm:6"].flops_per_token * 4 / 6 * 1100.0
    assert WORKLOAD.flops(first, ran) - WORKLOAD.flops(other, ran) == pytest.approx(shared)
    assert WORKLOAD.flops(other, ran, uncached=True) == WORKLOAD.flops(first, ran)
    # A trial that failed, other numbers of frozen layers and other lengths share nothing.
    for alone in ([record("t000", first, TrialStatus.FAILED)], [record("t000", config("freeze", frozen_layers=3))]):
        assert WORKLOAD.flops(other, alone) == WORKLOAD.flops(first, ran)


def test_activations_beyond_the_cache_are_recomputed_in_every_trial():
    first, other = config("freeze", frozen_layers=4), config("freeze", frozen_layers=4, learning_rate=1e-4)
    small = replace(WORKLOAD, cache_bytes=0.0)
    ran = [record("t000", first)]
    assert small.flops(other, ran) == small.flops(first, ran) > WORKLOAD.flops(other, ran)


def test_the_first_student_pays_for_the_pass_of_its_teacher():
    student = config("distill", "minilm:5", teacher="t000")
    second = student.replace(learning_rate=1e-4)
    ran = [record("t000", config()), record("t001", student)]
    teachers_pass = SIZES["minilm:6"].flops_per_token * 1000.0
    assert WORKLOAD.flops(student, ran) - WORKLOAD.flops(second, ran) == pytest.approx(teachers_pass)
    assert WORKLOAD.flops(second, ran[:1]) == WORKLOAD.flops(student, ran)
    assert WORKLOAD.flops(second, []) == WORKLOAD.flops(second, ran), "a teacher that is not known costs nothing"


def test_the_device_of_a_linear_model_is_its_own():
    on_gpu = replace(WORKLOAD, network_device="cuda")
    assert [on_gpu.device(TrialConfig(model_size=size)) for size in SIZES] == ["linear", "cuda", "cuda"]


def test_slots_are_those_of_the_cluster_unless_concurrency_is_lower():
    cluster, training = ClusterHandle("", (Node("here", 4, 0),), owned=False), TrainingSpec()
    assert slots_of(SearchSpec(trials=8), training, cluster) == 4
    assert slots_of(SearchSpec(trials=8, concurrency=3), training, cluster) == 3
    assert slots_of(SearchSpec(trials=8, concurrency=9), training, cluster) == 4
    assert slots_of(SearchSpec(trials=8), training, ClusterHandle("", (), owned=False)) == 1


def test_a_crash_loses_at_most_one_checkpoint_interval_and_a_cold_start():
    assert lost_s(TrainingSpec(checkpoint_every_s=25)) == 25 + COLD_START_S
