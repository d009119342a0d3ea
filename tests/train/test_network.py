"""Variants and state key of a network trial."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from lft_ray.config import DistillSpec
from lft_ray.data.store import load_split
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.resolve import find_base
from lft_ray.records import TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train import network
from lft_ray.train.loop.evaluate import predict
from lft_ray.train.trial import run_trial


def test_variants_are_scored_at_each_length_and_precision_as_served(trial_job, loop_job, monkeypatch):
    passes = []

    def counted(network, tokens, batching, precision="fp32"):
        passes.append((batching.max_length, precision))
        return predict(network, tokens, batching, precision)

    monkeypatch.setattr(network, "predict", counted)
    job = trial_job(precisions=["fp32", "bf16"], max_lengths=[12, 8])
    result = run_trial(job, lambda _: None)
    assert [(v.max_length, v.precision) for v in result.variants] == [
        (n, p) for n in (32, 12, 8) for p in job.precisions
    ]
    # The loop scored the reference; each other variant is one pass.
    assert passes == [(32, "bf16"), (12, "fp32"), (12, "bf16"), (8, "fp32"), (8, "bf16")]
    assert result.variants[0].f1 == result.curve[-1].f1
    assert Storage(result.variants[2].predictions_uri.rpartition("/")[0]).exists("fp32-12.parquet")

    folder = Storage(result.checkpoint_uri).local_folder("")
    texts = load_split(job.dataset, "validation").texts
    for found in result.variants:
        runner = TorchEngine.open(folder, precision=found.precision, threads=1, max_length=found.max_length)
        logits = np.array(pq.read_table(found.predictions_uri)["logits"].to_pylist())
        np.testing.assert_allclose(run_sorted(runner, texts), logits, atol=1e-4 if found.precision == "fp32" else 0.1)
    whole, cut = (np.array(pq.read_table(v.predictions_uri)["logits"].to_pylist()) for v in result.variants[::4])
    assert np.abs(whole - cut).max() > 0.1


def test_a_length_that_truncates_no_validation_text_needs_no_second_pass(trial_job, loop_job, monkeypatch):
    monkeypatch.setattr(network, "predict", None)
    trained = {"max_length": 60, "epochs": 1}
    longest = int(loop_job().validation.lengths(60).max())
    assert longest < 60
    result = run_trial(trial_job(config=trained, max_lengths=[longest]), lambda _: None)
    assert [v.max_length for v in result.variants] == [60, longest]
    assert result.variants[0].metrics == result.variants[1].metrics
    assert result.variants[0].predictions_uri != result.variants[1].predictions_uri
    failed = run_trial(trial_job(config=trained, max_lengths=[longest - 1]), lambda _: None)
    assert failed.status is TrialStatus.FAILED


def test_the_state_key_depends_on_teacher_and_settings_but_not_on_resources(trial_job):
    def key(**changes) -> str:
        job = trial_job(**changes)
        return network._state_key(job, find_base(job.models[0]), "fp32")

    student = {"method": "distill", "teacher": "t000"}
    keys = [
        key(config=student),
        key(config=student | {"teacher": "t003"}),
        key(),
        key(config=student, training={"distill": DistillSpec(temperature=4.0)}),
    ]
    assert len(set(keys)) == 4
    elsewhere = {"workers": 2, "sharding": "fsdp", "checkpoint_every_s": 1.0, "activation_cache_gb": 0.0}
    assert key(config=student, training=elsewhere) == keys[0]


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"method": "linear_probe"},
        {"method": "freeze", "frozen_layers": 1},
        {"method": "lora", "lora_rank": 2, "lora_alpha": 4.0},
    ],
    ids=lambda method: method.get("method", "full"),
)
def test_pairs_are_served_as_they_were_scored_whatever_the_method(trial_job, matches, method):
    job = trial_job(matches, config={"epochs": 1, "max_length": 24} | method, max_lengths=[12])
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    folder = Storage(result.checkpoint_uri).local_folder("")
    assert EngineCard.read(folder).segments == 2
    texts = load_split(matches, "validation").texts
    logits = []
    for found in result.variants:
        logits.append(np.array(pq.read_table(found.predictions_uri)["logits"].to_pylist()))
        runner = TorchEngine.open(folder, precision=found.precision, threads=1, max_length=found.max_length)
        np.testing.assert_allclose(run_sorted(runner, texts), logits[-1], atol=1e-4)
        swapped = run_sorted(runner, [(second, first) for first, second in texts])
        assert np.abs(swapped - logits[-1]).max() > 1e-3, "the order of the texts is read"
    assert np.abs(logits[0] - logits[1]).max() > 1e-4, "the shorter variant cuts"
