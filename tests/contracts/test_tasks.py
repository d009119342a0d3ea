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
