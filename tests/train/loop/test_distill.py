"""Distillation: the loss, its gradient, the teacher's logits, and a trial from end to end."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lft_ray.config import DistillSpec
from lft_ray.data.batches import micro_batches
from lft_ray.data.encode import encode_split
from lft_ray.errors import ConfigError, InputError, LftWarning
from lft_ray.models.network import load
from lft_ray.models.tfidf import TfidfModel
from lft_ray.records import TrialRecord, TrialResult, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.device.process_group import Group
from lft_ray.train.job import TrialJob
from lft_ray.train.loop import distill
from lft_ray.train.loop.distill import Teacher, find_teacher, teacher_logits, teacher_record
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.steps import Stepper
from lft_ray.train.trial import execute, run_trial, trial_meter
from tests.train.ranks import run_ranks


def never() -> bool:
    return False


def teacher_like_logits(job, seed: int = 0) -> np.ndarray:
    """Logits of a teacher that is nearly always right and fairly confident."""
    targets = np.asarray(job.train.targets)
    matrix = targets if targets.ndim == 2 else np.eye(job.task.outputs, dtype=np.float32)[targets]
    noise = np.random.default_rng(seed).normal(size=matrix.shape)
    return (3.0 * (2.0 * matrix - 1.0) + noise).astype(np.float32)


def taught(job, **spec) -> Teacher:
    return Teacher(teacher_like_logits(job), DistillSpec(**spec))


def gradients(job, taught_by: Teacher | None, tokens: int = 4096, rows: np.ndarray | None = None) -> list[torch.Tensor]:
    rows = np.arange(33) if rows is None else rows
    stepper = Stepper(job.network, job.task, job.train, Batching(32, tokens, 0), job.training, taught_by)
    stepper.connect(Group())
    stepper.accumulate(rows, micro_batches(rows, stepper.lengths, tokens))
    return [p.grad.clone() for p in job.network.parameters() if p.grad is not None]


def assert_equal(ones, others) -> None:
    assert len(ones) == len(others) > 20
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.fixture(params=["topics", "tags"])
def record(request):
    return request.getfixturevalue(request.param)


def test_the_loss_falls(loop_job, record):
    job = loop_job(record=record, config={"epochs": 4})
    result = train(loop_job(record=record, config={"epochs": 4}, teacher=taught(job)), lambda _: None, never)
    assert result.status is TrialStatus.DONE
    losses = [point.train_loss for point in result.curve[1:]]
    assert losses == sorted(losses, reverse=True)
    assert result.curve[-1].f1 > 0.75


def test_a_teacher_is_learned_without_labels(loop_job):
    """At weight 1 the labels do not count: the student learns a teacher that shifts every label by one."""
    job = loop_job(training={"head_init": "random"}, config={"epochs": 6})
    wrong = np.roll(teacher_like_logits(job), 1, axis=1)
    spec = DistillSpec(weight=1.0)
    result = train(
        loop_job(training={"head_init": "random"}, config={"epochs": 6}, teacher=Teacher(wrong, spec)), print, never
    )
    shifted = (np.asarray(job.validation.targets) + 1) % 3
    assert (result.logits.argmax(axis=1) == shifted).mean() > 0.8


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_loss_at_weight_zero_is_that_on_the_labels(loop_job, record, class_weights):
    def job():
        return loop_job(record=record, training={"class_weights": class_weights})

    assert_equal(gradients(job(), None), gradients(job(), taught(job(), weight=0.0)))
    plain, distilled = (
        train(loop_job(record=record, teacher=t), lambda _: None, never).curve
        for t in (None, taught(job(), weight=0.0))
    )
    assert [(p.f1, p.loss) for p in plain] == [(p.f1, p.loss) for p in distilled]


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_micro_batches_leave_the_gradient_unchanged(loop_job, record, class_weights):
    whole, cut, single = (
        gradients(job, taught(job), tokens)
        for tokens in (100_000, 200, 1)
        for job in [loop_job(record=record, training={"class_weights": class_weights})]
    )
    assert_equal(whole, cut)
    assert_equal(whole, single)


def test_class_weights_apply_to_the_labels_only(loop_job):
    rows = np.arange(0, 40, 3)  # one topic more often than it is in the whole split
    plain, weighted = (
        gradients(job, taught(job, weight=1.0), rows=rows)
        for class_weights in ("none", "balanced")
        for job in [loop_job(training={"class_weights": class_weights})]
    )
    assert_equal(plain, weighted)


def test_a_student_equal_to_its_teacher_has_no_gradient(loop_job, record):
    job = loop_job(record=record)
    own = predict(job.network, job.train, Batching(32, 256, 0))
    still = gradients(job, Teacher(own, DistillSpec(weight=1.0, temperature=3.0)))
    moved = gradients(loop_job(record=record), taught(job, weight=1.0))
    assert max(float(g.abs().max()) for g in still) < 1e-5 < 1e-2 < max(float(g.abs().max()) for g in moved)


# ---------------------------------------------------------------- the teacher's logits


SMALL = {"max_length": 32}


def ended(job: TrialJob) -> TrialRecord:
    """Run a trial and store its record, as the driver does."""
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    record = TrialRecord(**{name: getattr(result, name) for name in TrialResult.model_fields})
    Storage(job.run_uri).child("trials", job.trial_id).put("record.json", record.model_dump_json())
    return record


@pytest.fixture
def taught_run(trial_job, tiny_bert):
    """A finished teacher of two layers, and a maker of students of one layer."""
    ended(trial_job(trial_id="t000"))

    def student(trial_id: str = "t001", *args, **changes) -> TrialJob:
        config = {"model_size": f"{tiny_bert}:1", "method": "distill", "teacher": "t000"} | changes.pop("config", {})
        return trial_job(*args, trial_id=trial_id, config=config, **changes)

    return student


def files(job: TrialJob) -> list[Path]:
    return sorted((Path(job.run_uri) / "teachers").glob("*.arrow"))


@pytest.mark.parametrize("name", ["topics", "tags"])
def test_a_distilled_trial_from_end_to_end(trial_job, tiny_bert, request, name):
    record = request.getfixturevalue(name)
    first = ended(trial_job(record, trial_id="t000", config={"epochs": 4}))
    config = {"model_size": f"{tiny_bert}:1", "method": "distill", "teacher": "t000", "epochs": 4}
    job = trial_job(record, trial_id="t001", config=config)
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    assert (result.config.method, result.config.teacher) == ("distill", "t000")
    assert result.variants[0].f1 > 0.75
    assert load(Storage(result.checkpoint_uri).local_folder("")).shape.layers == 1
    # The logits are in row order, and those of the teacher's own network.
    network = load(Storage(first.checkpoint_uri).local_folder(""))
    tokens = encode_split(record, "train", tiny_bert, Path(job.run_uri) / "tokens")
    np.testing.assert_allclose(teacher_logits(job, "cpu"), predict(network, tokens, Batching(32, 256, 0)), atol=1e-5)
    alone = run_trial(
        trial_job(record, trial_id="t002", config=config | {"method": "full", "teacher": ""}), lambda _: None
    )
    assert [p.loss for p in alone.curve[1:]] != [p.loss for p in result.curve[1:]]
    # Both heads start from the same probe.
    assert alone.curve[0].f1 == result.curve[0].f1


def test_logits_are_computed_once(taught_run, monkeypatch):
    job = taught_run()
    logits = teacher_logits(job, "cpu")
    assert (logits.dtype, logits.shape) == (np.float32, (119, 3))
    assert not logits.flags.writeable
    assert [path.name[:5] for path in files(job)] == ["t000-"]

    def again(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(distill, "_compute", again)
    np.testing.assert_array_equal(teacher_logits(taught_run("t009"), "cpu"), logits)


def test_two_trials_at_once_compute_once(taught_run, monkeypatch):
    compute, computed, other_waits = distill._compute, [], threading.Event()

    def counted(*args):
        computed.append(args)
        # The other thread arrives while the first computes; without the lock it would compute as well.
        other_waits.wait(5)
        return compute(*args)

    monkeypatch.setattr(distill, "_compute", counted)
    found = []

    def want(name: str) -> None:
        found.append(teacher_logits(taught_run(name), "cpu"))

    threads = [threading.Thread(target=want, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    threads[1].join(1.0)
    other_waits.set()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert len(computed) == 1
    np.testing.assert_array_equal(*found)


def run_rank(rank: int, folder: Path) -> None:
    job = TrialJob.model_validate_json((folder / "job.json").read_text())
    result = execute(job, lambda _: None, trial_meter(job))
    (folder / f"rank-{rank}.json").write_text(result.model_dump_json())


@pytest.mark.timeout(400)
def test_two_processes_distill_like_one(taught_run, tmp_path):
    """Both need the logits at once, and the last step of 119 rows in batches of 2 leaves one process without a row."""
    config = {"batch_size": 2, "epochs": 1, "learning_rate": 1e-3}
    job = taught_run("shared", config=config, training={"class_weights": "balanced", "micro_batch_tokens": 128})
    (tmp_path / "job.json").write_text(job.model_dump_json())
    run_ranks(run_rank, tmp_path)
    shared = TrialResult.model_validate_json((tmp_path / "rank-0.json").read_text())
    alone = run_trial(job.model_copy(update={"trial_id": "alone"}), lambda _: None)
    assert len(files(job)) == 1
    assert [p.loss for p in shared.curve] == pytest.approx([p.loss for p in alone.curve], rel=1e-4)
    assert shared.curve[-1].f1 == pytest.approx(alone.curve[-1].f1, rel=1e-4)
    labels_alone = {"method": "full", "teacher": ""}
    in_full = run_trial(
        job.model_copy(update={"trial_id": "full", "config": job.config.model_copy(update=labels_alone)}),
        lambda _: None,
    )
    assert abs(in_full.curve[-1].loss / shared.curve[-1].loss - 1) > 1e-3


def test_a_damaged_file_is_made_again(taught_run):
    job = taught_run()
    logits = np.array(teacher_logits(job, "cpu"))
    (path,) = files(job)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(LftWarning, match="was changed after it was written, and is made again"):
        np.testing.assert_array_equal(teacher_logits(job, "cpu"), logits)


def test_another_trial_of_the_same_name_is_another_teacher(taught_run, trial_job):
    job = taught_run()
    first = np.array(teacher_logits(job, "cpu"))
    shutil.rmtree(Path(job.run_uri) / "trials")
    ended(trial_job(trial_id="t000", config={"seed": 5}))
    assert np.abs(teacher_logits(job, "cpu") - first).max() > 0.01
    assert len(files(job)) == 2


def test_the_first_trial_pays_for_the_teacher_pass(taught_run, monkeypatch):
    spent = []
    compute = distill._compute

    def slow(*args):
        began = time.process_time()
        while time.process_time() - began < 0.5:
            pass
        spent.append(True)
        return compute(*args)

    monkeypatch.setattr(distill, "_compute", slow)
    first, second = (run_trial(taught_run(name), lambda _: None) for name in ("t001", "t002"))
    assert spent == [True]
    assert first.usage.core_s >= 0.5
    assert first.usage.train_s >= 0.5
    assert second.variants[0].f1 == first.variants[0].f1


def test_bf16_teachers_predict_in_the_evaluated_precision(taught_run, trial_job):
    ended(trial_job(trial_id="t007", precisions=["bf16"]))
    rounded = teacher_logits(taught_run(config={"teacher": "t007"}), "cpu")
    # Same seed as t000, so the same weights.
    assert 0 < np.abs(rounded - teacher_logits(taught_run(), "cpu")).max() < 0.5


def test_tfidf_can_be_the_teacher(taught_run, trial_job, topics):
    linear = {"model_size": "tfidf", "learning_rate": None, "batch_size": None, "epochs": None}
    record = ended(trial_job(trial_id="t005", config=linear))
    from lft_ray.data.store import load_split

    model = TfidfModel.load(Storage(record.checkpoint_uri).local_folder(""))
    logits = teacher_logits(taught_run(config={"teacher": "t005"}), "cpu")
    np.testing.assert_allclose(logits, model.logits(load_split(topics, "train").texts), atol=1e-6)


def test_only_distilled_trials_have_a_teacher(trial_job):
    assert find_teacher(trial_job(), "cpu") is None
    with pytest.raises(ConfigError, match="names no teacher"):
        find_teacher(trial_job(config={"method": "distill"}), "cpu")
    with pytest.raises(InputError, match="t404"):
        teacher_record(Storage(trial_job().run_uri), "t404")
    failed = run_trial(trial_job(config={"method": "distill", "teacher": "t404"}), lambda _: None)
    assert failed.status is TrialStatus.FAILED
    assert "t404" in failed.reason


def test_a_crashed_student_resumes_with_its_teacher(taught_run):
    def crash(point):
        if point["fraction"] > 0.5:
            raise KeyboardInterrupt

    settings = {"checkpoint_every_s": 0.0}
    with pytest.raises(KeyboardInterrupt):
        run_trial(taught_run(training=settings), crash)
    result = run_trial(taught_run(training=settings, attempt=2), lambda _: None)
    uninterrupted = run_trial(taught_run("t002"), lambda _: None)
    assert [point.loss for point in result.curve] == [point.loss for point in uninterrupted.curve]
