"""Every built-in task keeps the contract of `lft_ray.tasks.base.Task`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lft_ray.plugins import resolve
from lft_ray.tasks import TASKS

LABELS = ["anger", "joy", "sadness"]
METRICS = {"macro_f1", "micro_f1", "weighted_f1", "accuracy"}


@pytest.fixture(params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Any:
    kind = resolve(request.param, TASKS, where="task.kind")(LABELS)
    assert kind.kind == request.param
    return kind


@pytest.fixture
def rows(task: Any) -> list[list[str]]:
    one = [[LABELS[i % 3]] for i in range(30)]
    return [*one, [], ["joy", "anger"]] if task.allows_empty() else one


@pytest.fixture
def logits(task: Any, rows: list[list[str]]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(rows), task.outputs)).astype(np.float32)


def test_labels_and_names(task):
    assert task.labels == LABELS
    assert task.outputs == len(LABELS)
    assert "label" in task.label_names


def test_targets_are_read_from_strings(task):
    column = pa.array(["joy", None, " ", "anger"], pa.large_string())
    assert task.read_targets(column) == [["joy"], [], [], ["anger"]]


def test_encoded_targets(task, rows):
    targets = task.encode(rows)
    assert len(targets) == len(rows)
    assert (targets.dtype, targets.ndim) in [(np.int64, 1), (np.float32, 2)]
    assert len(task.encode([])) == 0


def test_unknown_labels_are_refused(task):
    from lft_ray.errors import DataError

    with pytest.raises(DataError):
        task.encode([["no such label"]])


def test_the_loss_is_a_sum_over_texts(task, rows, logits):
    import torch

    targets, outputs = torch.from_numpy(task.encode(rows)), torch.from_numpy(logits)
    whole = task.loss(outputs, targets, None)
    halves = task.loss(outputs[:7], targets[:7], None) + task.loss(outputs[7:], targets[7:], None)
    assert whole.ndim == 0
    assert torch.allclose(whole, halves, rtol=1e-5)
    assert torch.allclose(task.loss(outputs, targets, torch.ones(task.outputs)), whole)


def test_the_loss_of_bf16_logits_is_fp32(task, rows, logits):
    import torch

    loss = task.loss(torch.from_numpy(logits).bfloat16(), torch.from_numpy(task.encode(rows)), None)
    assert loss.dtype == torch.float32


def test_right_logits_have_less_loss(task, rows, logits):
    import torch

    targets = task.encode(rows)
    matrix = targets if targets.ndim == 2 else np.eye(task.outputs, dtype=np.float32)[targets]
    right = torch.from_numpy((matrix * 2 - 1) * 8)
    assert task.loss(right, torch.from_numpy(targets), None) < task.loss(
        torch.from_numpy(logits), torch.from_numpy(targets), None
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_a_divergence_and_a_sum_over_texts(task, logits, temperature):
    import torch

    teacher = torch.from_numpy(np.random.default_rng(1).normal(size=logits.shape).astype(np.float32))
    answers = torch.from_numpy(logits).requires_grad_()
    whole = task.distill_loss(answers, teacher, temperature)
    halves = sum(task.distill_loss(answers[part], teacher[part], temperature) for part in (slice(7), slice(7, None)))
    assert whole.ndim == 0
    assert whole.item() > 0
    assert torch.allclose(whole, halves, rtol=1e-5)
    torch.autograd.backward(whole)
    # One step against the gradient comes nearer to the teacher.
    nearer = task.distill_loss(answers.detach() - 0.1 * answers.grad, teacher, temperature)
    assert nearer < whole
    assert task.distill_loss(answers.detach().bfloat16(), teacher, temperature).dtype == torch.float32


def test_a_student_like_its_teacher_has_no_distillation_gradient(task, logits):
    import torch

    answers = torch.from_numpy(logits).requires_grad_()
    loss = task.distill_loss(answers, torch.from_numpy(logits), 2.0)
    torch.autograd.backward(loss)
    assert abs(float(loss)) < 1e-4
    assert float(answers.grad.abs().max()) < 1e-5


def test_distillation_at_temperature_one_is_cross_entropy_less_the_teachers_entropy(task, logits):
    import torch

    teacher = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    shares = task.probabilities(teacher).astype(np.float64)
    answers = task.probabilities(logits).astype(np.float64)
    expected = (shares * np.log(shares / answers)).sum()
    if task.allows_empty():
        expected += ((1 - shares) * np.log((1 - shares) / (1 - answers))).sum()
    got = task.distill_loss(torch.from_numpy(logits), torch.from_numpy(teacher), 1.0)
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_the_square_of_the_temperature_keeps_the_gradient_as_large(task, logits):
    """Hinton et al. 2015: at high temperatures it nears (answers - teacher) / c; for one yes and no, a quarter."""
    import torch

    teacher = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    centred = logits - teacher
    if not task.allows_empty():
        centred = centred - centred.mean(axis=1, keepdims=True)
    answers = torch.from_numpy(logits).requires_grad_()
    torch.autograd.backward(task.distill_loss(answers, torch.from_numpy(teacher), 100.0))
    limit = centred / (4 if task.allows_empty() else task.outputs)
    np.testing.assert_allclose(answers.grad.numpy(), limit, atol=0.02 * np.abs(limit).max())


def test_class_weights_have_mean_one_over_the_rows(task, rows):
    targets = task.encode([*rows, ["joy"], ["joy"]])
    weights = task.class_weights(targets)
    counts = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets)
    assert (weights.dtype, weights.shape) == (np.float32, (3,))
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert np.argmin(weights) == np.argmax(counts)
    assert np.isfinite(task.class_weights(task.encode([["joy"]]))).all()


def test_probabilities(task, logits):
    shares = task.probabilities(logits)
    assert (shares.dtype, shares.shape) == (np.float32, logits.shape)
    assert ((shares >= 0) & (shares <= 1)).all()
    extreme = task.probabilities(np.array([[1e4, -1e4, 0.0]], dtype=np.float32))
    assert np.isfinite(extreme).all()
    assert np.array_equal(np.argsort(shares, axis=1), np.argsort(logits, axis=1))
    assert task.probabilities(logits[:0]).shape == (0, 3)


def test_metrics(task, rows, logits):
    targets = task.encode(rows)
    matrix = targets if targets.ndim == 2 else np.eye(task.outputs)[targets]
    right = task.metrics(targets, (matrix * 2 - 1).astype(np.float32))
    assert set(right) == METRICS
    assert all(value == 1.0 for value in right.values())
    got = task.metrics(targets, logits)
    assert all(type(value) is float and 0 <= value < 1 for value in got.values())
    assert set(task.metrics(targets[:0], logits[:0]).values()) == {0.0}


def test_per_label_and_confusion(task, rows, logits):
    targets = task.encode(rows)
    table = task.per_label(targets, logits)
    assert [row["label"] for row in table] == LABELS
    assert all(set(row) == {"label", "precision", "recall", "f1", "support"} for row in table)
    assert np.mean([row["f1"] for row in table]) == pytest.approx(task.metrics(targets, logits)["macro_f1"])
    confusion = task.confusion(targets, logits)
    assert confusion == [] or [sum(row) for row in confusion] == [row["support"] for row in table]


def test_answers(task, logits):
    shares = task.probabilities(logits)
    answers = task.decode(shares)
    assert len(answers) == len(logits)
    for answer, row in zip(answers, shares, strict=True):
        scores = [entry.score for entry in answer]
        assert scores == sorted(scores, reverse=True)
        assert {entry.label: entry.score for entry in answer} == pytest.approx(
            dict(zip(LABELS, row.tolist(), strict=True))
        )
    chosen = task.chosen(shares)
    assert all(set(names) <= set(LABELS) for names in chosen)
    assert all(names == [] or names[0] in LABELS for names in chosen)


def test_strata(task, rows):
    strata = task.strata(rows)
    assert len(strata) == len(rows)
    assert all(isinstance(key, str) for key in strata)
