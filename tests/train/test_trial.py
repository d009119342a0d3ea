import errno
import gc
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lft_ray.causes import EndCause, MachineError
from lft_ray.models.network import load
from lft_ray.records import CurvePoint, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Allowance, StartedTrial, read_result
from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import noted_usage, noting, replace_notes
from lft_ray.train.job import result_name, trial_storage
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parents[2]


def stored(job, attempt=1) -> TrialResult:
    found = read_result(Storage(job.run_uri), job.trial_id, attempt)
    assert found is not None
    return found


def test_result_files_and_points(trial_job, loop_job):
    job = trial_job(precisions=["fp32", "bf16"])
    seen = []

    def report(point):
        # The receiver of the last point may treat the trial as finished.
        seen.append((point, trial_storage(job).exists(result_name(1))))

    result = run_trial(job, report)
    assert result.status is TrialStatus.DONE
    assert result == stored(job)
    assert [exists for _, exists in seen] == [False, False, False, True]
    assert set(seen[0][0]) == set(CurvePoint.model_fields)
    assert [point["f1"] for point, _ in seen] == [point.f1 for point in result.curve]
    assert [variant.precision for variant in result.variants] == ["fp32", "bf16"]
    assert result.variants[0].f1 == result.curve[-1].f1 == result.variants[0].metrics["macro_f1"]
    assert result.usage.core_s > 0
    assert not trial_storage(job).exists("state")

    table = pq.read_table(result.variants[0].predictions_uri)
    assert table.column_names == ["row_id", "target", "logits"]
    network = load(Storage(result.checkpoint_uri).local_folder(""))
    expected = predict(network, loop_job().validation, Batching(32, 256, 0))
    np.testing.assert_allclose(np.array(table["logits"].to_pylist()), expected, atol=1e-5)
    assert table["target"].to_pylist() == loop_job().validation.targets.tolist()
    rounded = np.array(pq.read_table(result.variants[1].predictions_uri)["logits"].to_pylist())
    assert 0 < np.abs(rounded - expected).max() < 0.5


@pytest.mark.parametrize("size", ["tfidf", None])
def test_several_labels(trial_job, tags, size):
    job = trial_job(tags, config={"model_size": size} if size else {"epochs": 4})
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.DONE
    assert result.variants[0].f1 > 0.8
    table = pq.read_table(result.variants[0].predictions_uri)
    assert len(table["target"][0].as_py()) == 3


def test_attempts_do_not_overwrite_each_other(trial_job):
    first, second = (run_trial(trial_job(attempt=attempt), lambda _: None) for attempt in (1, 2))
    assert stored(trial_job(), 1) == first
    assert stored(trial_job(), 2) == second
    assert first.checkpoint_uri != second.checkpoint_uri
    assert first.variants[0].predictions_uri != second.variants[0].predictions_uri
    assert Storage(first.checkpoint_uri).exists("model.safetensors")


def test_errors_become_a_failed_result(trial_job):
    job = trial_job(config={"model_size": "nonsense:3"})
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.FAILED
    assert result.reason.startswith("ModelError: unknown model size 'nonsense:3'")
    assert stored(job) == result
    too_long = run_trial(trial_job(config={"max_length": 500}), lambda _: None)
    assert too_long.status is TrialStatus.FAILED
    assert "max_length" in too_long.reason


def test_a_failing_report_fails_the_trial_not_the_worker(trial_job):
    def report(point):
        raise RuntimeError("the driver is gone")

    result = run_trial(trial_job(), report)
    assert result.status is TrialStatus.FAILED
    assert "the driver is gone" in result.reason
    assert result.usage.core_s > 0


def test_a_non_finite_loss_is_infeasible(trial_job):
    job = trial_job(config={"learning_rate": 1e30})
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.INFEASIBLE
    assert result.variants == []
    assert result.checkpoint_uri == ""
    assert stored(job) == result


def test_a_trial_stops_at_its_deadline(trial_job):
    seen = []
    result = run_trial(trial_job(deadline=time.time() - 1), seen.append)
    assert result.status is TrialStatus.STOPPED
    assert all(point["fraction"] < 1 for point in seen)
    assert result.variants == []


def test_a_trial_stops_before_it_exceeds_its_allowance(trial_job):
    allowance = Allowance(core_s=5.0, used_core_s=4.999)
    result = run_trial(trial_job(allowance=allowance), lambda _: None)
    assert (result.status, result.variants) == (TrialStatus.STOPPED, [])
    assert "usage limit" in result.reason
    assert run_trial(trial_job(allowance=Allowance(core_s=1e6)), lambda _: None).status is TrialStatus.DONE


def test_unwritable_storage_is_reported(trial_job, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = run_trial(trial_job(run_uri=str(blocked)), lambda _: None)
    assert result.status is TrialStatus.FAILED


def test_the_next_attempt_resumes_the_training_state(trial_job):
    before, seen = [], []

    def crash(point):
        if point["fraction"] > 0.5:
            raise KeyboardInterrupt
        before.append(point)

    settings = {"checkpoint_every_s": 0.0}
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial_job(training=settings), crash)
    result = run_trial(trial_job(training=settings, attempt=2), seen.append)
    uninterrupted = run_trial(trial_job(trial_id="other"), lambda _: None)
    assert [round(point["fraction"], 3) for point in seen] == [0.0, 0.333, 0.667, 1.0]
    # Saved points are reported again, with their seconds, and not trained again.
    assert seen[:2] == before
    assert [point.f1 for point in result.curve] == [point.f1 for point in uninterrupted.curve]
    # Of the first attempt, only the step that crashed was not recorded.
    assert result.usage.tokens >= uninterrupted.usage.tokens
    assert result.usage.train_s > 0
    assert result.variants[0].f1 == uninterrupted.variants[0].f1


def test_importing_the_job_is_cheap():
    modules = "lft_ray.train.trial, lft_ray.train.distributed.sharded, sys"
    code = f"import {modules}; print({{'torch', 'ray', 'pyarrow'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == "set()"


def live_floats() -> int:
    gc.collect()
    tensors = {id(o): o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)}
    return sum(tensor.numel() for tensor in tensors.values())


def test_memory_does_not_grow_from_trial_to_trial(trial_job):
    def one(number: int, **changes) -> int:
        run_trial(trial_job(trial_id=f"m-{number}", **changes), lambda _: None)
        return live_floats()

    sizes = [one(number, config={"seed": number, "epochs": 1}) for number in range(4)]
    sizes.append(one(4, config={"learning_rate": 1e30, "epochs": 1}))
    sizes.append(one(5, config={"max_length": 500}))
    # The first trial fills the caches: base weights and the probe. After that nothing stays.
    assert max(sizes[1:]) <= sizes[0] + 1000


@pytest.mark.parametrize("size", ["tfidf", None])
def test_a_full_disk_is_raised_and_never_a_result(trial_job, monkeypatch, size):
    job = trial_job(config={"model_size": size} if size else {})

    def full(self, name, source):
        raise OSError(errno.ENOSPC, "No space left on device", self.uri_of(name))

    monkeypatch.setattr(Storage, "put_folder", full)
    with pytest.raises(MachineError) as raised:
        run_trial(job, lambda _: None)
    assert raised.value.fault.cause is EndCause.DISK_FULL
    assert raised.value.fault.path.endswith("checkpoint")
    assert not trial_storage(job).exists(result_name(1))


def test_an_attempt_that_was_superseded_writes_no_result(trial_job):
    job = trial_job(config={"model_size": "tfidf"})
    started = StartedTrial(trial_id=job.trial_id, number=0, config=job.config, attempt=2)
    trial_storage(job).put("started.json", started.model_dump_json())
    assert run_trial(job, lambda _: None).status is TrialStatus.DONE
    assert not trial_storage(job).exists(result_name(1))
    assert run_trial(job.replace(attempt=2), lambda _: None).status is TrialStatus.DONE
    assert trial_storage(job).exists(result_name(2))


def test_the_fit_of_a_linear_model_records_its_usage_while_it_runs(tmp_path):
    state = Storage(tmp_path)
    with noting(state, "a", lambda: Usage(core_s=1.0, wall_s=1.0), every_s=0.01):
        deadline = time.monotonic() + 30
        while noted_usage(state) is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert noted_usage(state) == Usage(core_s=1.0, wall_s=1.0)
    replace_notes(state, Usage(core_s=5.0), session="earlier")
    assert noted_usage(state) == Usage(core_s=5.0)
