"""Contract of every training method: the loss falls, only trainable weights change, an ordinary network is left."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import CONDITIONS
from lft_ray.data.store import load_split
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.models.network import load
from lft_ray.records import CurvePoint, TrialResult, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.device.meter import Meter
from lft_ray.train.job import TrialJob
from lft_ray.train.loop.job import LoopJob
from lft_ray.train.network import TRAINERS
from lft_ray.train.trial import execute, run_trial
from tests.train.conftest import fresh_network, loop_job, tiny_bert, topics, trial_job  # noqa: F401 - fixtures
from tests.train.loop.test_distill import ended, taught
from tests.train.ranks import run_ranks

CASES: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "full, decayed": {"method": "full", "layer_decay": 0.7},
    "distill": {"method": "distill"},
    "freeze": {"method": "freeze", "frozen_layers": 1},
    "lora": {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0},
    "linear_probe": {"method": "linear_probe"},
}
LOWER = ("backbone.tokens.", "backbone.positions.", "backbone.types.", "backbone.norm.", "backbone.layers.0.")
MATRICES = tuple(f"{part}.weight" for part in ("qkv", "out", "up", "down"))
UNTRAINED = {
    # Weights that AdamW never updates. Of the two token-type rows one has no gradient, but weight decay applies to it.
    "freeze": lambda name: name.startswith(LOWER),
    "lora": lambda name: name.startswith("backbone.") and not name.endswith(MATRICES),
    "linear_probe": lambda name: name.startswith("backbone."),
}
TOLERANCE = 1e-4
"""Relative, of a validation loss, two processes against one in fp32 (tests/train/device/test_process_group.py)."""


@pytest.fixture(params=CASES)
def config(request) -> dict:
    return CASES[request.param]


def ignore(_) -> None:
    return None


def never() -> bool:
    return False


def job_of(make, config: dict, **training) -> LoopJob:
    job = make(config=config, training={"head_init": "random"} | training)
    return (
        make(config=config, training={"head_init": "random"} | training, teacher=taught(job))
        if (config["method"] == "distill")
        else job
    )


def trial(make, config: dict, **changes) -> TrialJob:
    """A trial; for distillation, an earlier trial of the same run is trained as its teacher."""
    job = make(config=config, **changes)
    if config["method"] != "distill":
        return job
    linear = {"model_size": "tfidf", "method": "full", "learning_rate": None, "batch_size": None, "epochs": None}
    ended(job.model_copy(update={"trial_id": "t-0", "config": job.config.model_copy(update=linear)}))
    return job.model_copy(update={"config": job.config.model_copy(update={"teacher": "t-0"})})


def curve(result) -> list[tuple[int, float, float]]:
    points: list[CurvePoint] = result.curve
    return [(point.step, point.f1, point.loss) for point in points]


def logits(result: TrialResult) -> np.ndarray:
    return np.array(pq.read_table(result.variants[0].predictions_uri)["logits"].to_pylist())


def test_every_method_has_a_case():
    assert {config["method"] for config in CASES.values()} == set(TRAINERS)
    assert {method for methods in CONDITIONS.values() for method in methods} <= set(TRAINERS)


def test_the_loss_falls(loop_job, config):  # noqa: F811
    job = job_of(loop_job, config)
    result = TRAINERS[config["method"]](job, ignore, never)
    assert result.status is TrialStatus.DONE
    losses = [point.train_loss for point in result.curve]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.01


def test_only_trainable_weights_change(loop_job, config):  # noqa: F811
    job = job_of(loop_job, config)
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    assert TRAINERS[config["method"]](job, ignore, never).status is TrialStatus.DONE
    after = job.network.state_dict()
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    untrained = UNTRAINED.get(config["method"], lambda name: False)
    assert changed == {name for name in before if not untrained(name)}


def test_gradients_reach_only_trainable_weights(loop_job, config):  # noqa: F811
    job = job_of(loop_job, config)
    reached: set[str] = set()
    for name, weights in job.network.named_parameters():
        weights.register_hook(lambda _, name=name: reached.add(name))
    TRAINERS[config["method"]](job, ignore, never)
    untrained = UNTRAINED.get(config["method"], lambda name: False)
    if config["method"] == "lora":
        # Only the factors are trained; the matrices receive their product in the merge.
        assert not [name for name in reached if name.startswith("backbone.")]
        return
    # Of the token embedding only the rows that occur in the data are trained, in a table of their own.
    for name, _ in job.network.named_parameters():
        if name != "backbone.tokens.weight":
            assert (name not in reached) is untrained(name), name


def test_the_checkpoint_is_an_ordinary_network_with_the_same_predictions(trial_job, tiny_bert, config):  # noqa: F811
    result = run_trial(trial(trial_job, config, precisions=["fp32", "bf16"], max_lengths=[12]), ignore)
    assert result.status is TrialStatus.DONE, result.reason
    assert result.config.method == config["method"]
    assert result.variants[0].f1 == result.curve[-1].f1
    folder = Storage(result.checkpoint_uri).local_folder("")
    assert list(load(folder).state_dict()) == list(fresh_network(tiny_bert, 3).state_dict())
    texts = load_split(trial_job().dataset, "validation").texts
    for found in result.variants:
        runner = TorchEngine.open(folder, precision=found.precision, threads=1, max_length=found.max_length)
        saved = np.array(pq.read_table(found.predictions_uri)["logits"].to_pylist())
        np.testing.assert_allclose(run_sorted(runner, texts), saved, atol=1e-4 if found.precision == "fp32" else 0.1)


def test_a_resumed_trial_equals_an_uninterrupted_one(trial_job, config):  # noqa: F811
    settings = {"checkpoint_every_s": 0.0}

    def crash(point) -> None:
        if point["fraction"] > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trial(trial_job, config, training=settings), crash)
    job = trial(trial_job, config, training=settings, attempt=2)
    resumed = run_trial(job, ignore)
    uninterrupted = run_trial(job.model_copy(update={"trial_id": "other", "attempt": 1}), ignore)
    assert resumed.status is TrialStatus.DONE, resumed.reason
    assert curve(resumed) == curve(uninterrupted)
    np.testing.assert_array_equal(logits(resumed), logits(uninterrupted))


def run_rank(rank: int, folder: Path) -> None:
    jobs = pickle.loads((folder / "jobs.pkl").read_bytes())
    results = [execute(job, ignore, Meter()) for job in jobs]
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(results))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_reach_the_result_of_one(trial_job, tmp_path):  # noqa: F811
    early_stopping = {"evaluations": 6, "early_stopping": {"patience": 2, "min_delta": 0.5}}
    jobs = [trial(trial_job, config | {"epochs": 1}, trial_id=f"two-{i}") for i, config in enumerate(CASES.values())]
    ending = TrainingSpec.model_validate(jobs[0].training.model_dump() | early_stopping)
    jobs.append(jobs[0].model_copy(update={"trial_id": "two-ending", "training": ending}))
    # The activations of frozen layers are computed by the first trial that needs them, in either group.
    alone = [run_trial(job.model_copy(update={"trial_id": f"one-{job.trial_id}"}), ignore) for job in jobs]
    (tmp_path / "jobs.pkl").write_bytes(pickle.dumps(jobs))
    run_ranks(run_rank, tmp_path)
    lead, other = (pickle.loads((tmp_path / f"rank-{rank}.pkl").read_bytes()) for rank in range(2))
    for one, two, twin in zip(alone, lead, other, strict=True):
        assert one.status is two.status is twin.status is TrialStatus.DONE
        assert one.reason == two.reason
        assert curve(two) == curve(twin)
        assert [(step, f1) for step, f1, _ in curve(two)] == [(step, f1) for step, f1, _ in curve(one)]
        for (_, _, theirs), (_, _, ours) in zip(curve(one), curve(two), strict=True):
            assert ours == pytest.approx(theirs, rel=TOLERANCE)
    assert lead[-1].curve[-1].fraction == pytest.approx(0.5)
