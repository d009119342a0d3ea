"""Contract of tasks, `lft_ray.tasks.base.Task`.

In: your task class. Out: passed or failed tests. Never trains, never reads files.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from lft_ray.data.readers.kinds import kind_of
from lft_ray.errors import DataError
from lft_ray.tasks.base import LabelTask
from lft_ray.tasks.columns import LABEL, input_columns
from lft_ray.tasks.find import prediction_kind

__all__ = ["LABELS", "TaskContract"]

LABELS = ["anger", "joy", "sadness"]
Floats = NDArray[np.float32]
Encode = Callable[[list[list[str]]], NDArray[Any]]


class TaskContract:
    """Subclass it with a fixture ``task_class``. Override ``rows`` if rows with one label are invalid for your task."""

    @pytest.fixture
    def task_class(self) -> type[LabelTask]:
        """Your task class; the tests instantiate it with `LABELS`."""
        pytest.fail("a subclass of TaskContract needs a fixture task_class that returns your task")

    @pytest.fixture
    def task(self, task_class: type[LabelTask]) -> LabelTask:
        """An instance with three labels."""
        return task_class.of(task_class.facts_type.model_validate({"labels": LABELS}))

    @pytest.fixture
    def rows(self, task: LabelTask) -> list[list[str]]:
        """Label names of at least 30 rows, as returned by `Task.read_targets`."""
        one = [[LABELS[i % 3]] for i in range(30)]
        return [*one, [], ["joy", "anger"]] if task.allows_empty() else one

    @pytest.fixture
    def encode(self, task: LabelTask) -> Encode:
        """Label names of rows -> targets."""
        return lambda rows: task.encode({LABEL: rows})

    @pytest.fixture
    def logits(self, task: LabelTask, rows: list[list[str]]) -> Floats:
        """Random logits for the rows."""
        return np.random.default_rng(0).normal(size=(len(rows), task.outputs)).astype(np.float32)

    def test_labels_and_names(self, task: LabelTask) -> None:
        assert task.labels == LABELS
        assert prediction_kind(task) == "labels"
        assert task.outputs == len(LABELS)

    def test_columns(self, task: LabelTask) -> None:
        roles = [column.role for column in task.columns]
        assert len(set(roles)) == len(roles)
        assert {column.of for column in task.columns} == {"input", "truth"}
        assert not {"row_id", "target"} & set(roles), "names of columns of a split file"
        for column in task.columns:
            assert column.names, f"{column.role} has no usual name"
            assert all(name == name.casefold().strip() for name in column.names)
            kind_of(column)
        assert "label" in next(column.names for column in task.columns if column.role == LABEL)

    def test_facts_survive_json_and_make_the_task(self, task_class: type[LabelTask], rows: list[list[str]]) -> None:
        facts = task_class.learn({LABEL: rows})
        again = type(facts).model_validate_json(facts.model_dump_json())
        assert again == facts
        assert again.identity() == facts.identity() != []
        made = task_class.of(again)
        assert (type(made), made.labels) == (task_class, LABELS)
        assert task_class.learn({LABEL: rows[:1]}).identity() != facts.identity()

    def test_identity_tells_inputs_apart(self, task_class: type[LabelTask], rows: list[list[str]]) -> None:
        roles = [column.role for column in input_columns(task_class.columns)]
        same: dict[str, list[Any]] = {role: ["a b", "a b"] for role in roles}
        assert len(set(task_class.identity({**same, LABEL: rows[:2]}))) == 1, "the truth is no part of it"
        for role in roles:
            assert len(set(task_class.identity({**same, role: ["a b", "b c"], LABEL: rows[:2]}))) == 2
        for one, other in pairwise(roles):
            moved = {**same, one: ["a", "a b"], other: ["b c", "c"], LABEL: rows[:2]}
            texts = [" ".join(text.split()) for text in task_class.identity(moved)]
            assert len(set(texts)) == 2, "a word that moves from one input to the next makes another example"

    def test_counts(self, task: LabelTask, rows: list[list[str]]) -> None:
        counts = task.counts({LABEL: [*rows, ["joy"]]})
        assert set(counts) == set(LABELS)
        assert next(iter(counts)) == "joy"
        assert all(type(count) is int for count in counts.values())
        assert task.counts({LABEL: []}) == {}

    def test_targets_are_read_from_strings(self, task: LabelTask) -> None:
        column = pa.array(["joy", None, " ", "anger"], pa.large_string())
        assert task.read_targets(column) == [["joy"], [], [], ["anger"]]

    def test_encoded_targets(self, task: LabelTask, encode: Encode, rows: list[list[str]]) -> None:
        targets = encode(rows)
        assert len(targets) == len(rows)
        assert (targets.dtype, targets.ndim) in [(np.dtype(np.int64), 1), (np.dtype(np.float32), 2)]
        assert len(encode([])) == 0

    def test_unknown_labels_are_refused(self, task: LabelTask, encode: Encode) -> None:
        with pytest.raises(DataError):
            encode([["no such label"]])

    def test_the_loss_is_a_sum_over_texts(
        self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats
    ) -> None:
        import torch

        targets, outputs = torch.from_numpy(encode(rows)), torch.from_numpy(logits)
        whole = task.loss(outputs, targets, None)
        halves = task.loss(outputs[:7], targets[:7], None) + task.loss(outputs[7:], targets[7:], None)
        assert whole.ndim == 0
        assert torch.allclose(whole, halves, rtol=1e-5)
        assert torch.allclose(task.loss(outputs, targets, torch.ones(task.outputs)), whole)

    def test_the_loss_of_bf16_logits_is_fp32(
        self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats
    ) -> None:
        import torch

        loss = task.loss(torch.from_numpy(logits).bfloat16(), torch.from_numpy(encode(rows)), None)
        assert loss.dtype == torch.float32

    def test_right_logits_have_less_loss(
        self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats
    ) -> None:
        import torch

        targets = torch.from_numpy(encode(rows))
        right = torch.from_numpy(right_logits(task, encode(rows)) * 8)
        assert task.loss(right, targets, None) < task.loss(torch.from_numpy(logits), targets, None)

    @pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
    def test_distillation_is_a_divergence_and_a_sum_over_texts(
        self, task: LabelTask, logits: Floats, temperature: float
    ) -> None:
        import torch

        teacher = torch.from_numpy(np.random.default_rng(1).normal(size=logits.shape).astype(np.float32))
        student = torch.from_numpy(logits).requires_grad_()
        whole = task.distill_loss(student, teacher, temperature)
        halves = [task.distill_loss(student[part], teacher[part], temperature) for part in (slice(7), slice(7, None))]
        assert whole.ndim == 0
        assert whole.item() > 0
        assert torch.allclose(whole, halves[0] + halves[1], rtol=1e-5)
        (gradient,) = torch.autograd.grad(whole, student)
        # A step against the gradient must reduce the divergence from the teacher.
        nearer = task.distill_loss(student.detach() - 0.1 * gradient, teacher, temperature)
        assert nearer < whole
        assert task.distill_loss(student.detach().bfloat16(), teacher, temperature).dtype == torch.float32

    def test_a_student_like_its_teacher_has_no_distillation_gradient(self, task: LabelTask, logits: Floats) -> None:
        import torch

        student = torch.from_numpy(logits).requires_grad_()
        loss = task.distill_loss(student, torch.from_numpy(logits), 2.0)
        (gradient,) = torch.autograd.grad(loss, student)
        assert abs(loss.item()) < 1e-4
        assert float(gradient.abs().max()) < 1e-5

    def test_class_weights_have_mean_one_over_the_rows(
        self, task: LabelTask, encode: Encode, rows: list[list[str]]
    ) -> None:
        targets = encode([*rows, ["joy"], ["joy"]])
        weights = task.class_weights(targets)
        counts = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets)
        assert (weights.dtype, weights.shape) == (np.dtype(np.float32), (3,))
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
        assert np.argmin(weights) == np.argmax(counts)
        assert np.isfinite(task.class_weights(encode([["joy"]]))).all()

    def test_probabilities(self, task: LabelTask, logits: Floats) -> None:
        shares = task.probabilities(logits)
        assert (shares.dtype, shares.shape) == (np.dtype(np.float32), logits.shape)
        assert ((shares >= 0) & (shares <= 1)).all()
        extreme = task.probabilities(np.array([[1e4, -1e4, 0.0]], dtype=np.float32))
        assert np.isfinite(extreme).all()
        assert np.array_equal(np.argsort(shares, axis=1), np.argsort(logits, axis=1))
        assert task.probabilities(logits[:0]).shape == (0, 3)

    def test_metrics(self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats) -> None:
        targets = encode(rows)
        right = task.metrics(targets, right_logits(task, targets))
        assert set(right) == set(task.metric_names)
        assert all(value == 1.0 for value in right.values())
        got = task.metrics(targets, logits)
        assert all(type(value) is float and 0 <= value < 1 for value in got.values())
        assert set(task.metrics(targets[:0], logits[:0]).values()) == {0.0}

    def test_panels(self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats) -> None:
        targets = encode(rows)
        for panel in task.panels(targets, task.answers(logits)):
            assert panel.title
            assert all(len(row) == len(panel.columns) for row in panel.rows)
            kinds = [(str,) if c.kind == "text" else (int,) if c.kind == "count" else (float,) for c in panel.columns]
            assert all(type(cell) in kind for row in panel.rows for cell, kind in zip(row, kinds, strict=True))

    def test_weighted_metrics_are_the_metrics_under_equal_weights(
        self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats
    ) -> None:
        targets = encode(rows)
        expected = task.metrics(targets, logits)
        assert set(task.metric_names) == set(expected)
        scores = task.row_scores(targets, task.answers(logits))
        assert len(scores) == len(rows)
        for key, value in expected.items():
            weights = np.ones((2, len(rows)), np.float32)
            found = task.weighted_metric(key, [scores, scores])(weights)
            assert found == pytest.approx(np.full((2, 2), value))
        with pytest.raises(ValueError, match="no such metric"):
            task.weighted_metric("no such metric", [scores])

    def test_a_weight_of_two_is_the_row_twice(
        self, task: LabelTask, encode: Encode, rows: list[list[str]], logits: Floats
    ) -> None:
        targets = encode(rows)
        twice = [*range(len(rows)), 0, 3, 3]
        weights = np.bincount(twice, minlength=len(rows)).astype(np.float32)[None]
        scores = task.row_scores(targets, task.answers(logits))
        expected = task.metrics(targets[twice], logits[twice])
        for key, value in expected.items():
            assert task.weighted_metric(key, [scores])(weights)[0, 0] == pytest.approx(value)

    def test_the_same_predictions_are_the_same(self, task: LabelTask, logits: Floats) -> None:
        answers = task.answers(logits)
        assert len(answers) == len(logits)
        assert task.same(answers, answers).all()
        assert not task.same(answers, task.answers(-logits)).all()
        assert (task.score_change(logits, logits) == 0).all()
        assert task.score_change(logits, -logits).max() > 0.01
        assert all(task.bucket(prediction) for prediction in task.predictions(logits, [""] * len(logits)))
        assert task.mismatch(task) == ""

    def test_strata_of_rows_are_numbers(self, task: LabelTask, encode: Encode, rows: list[list[str]]) -> None:
        strata = task.row_strata(encode(rows))
        assert (strata.shape, strata.dtype) == ((len(rows),), np.dtype(np.int64))
        assert strata.min() >= 0

    def test_predictions_of_a_file(self, task: LabelTask, logits: Floats) -> None:
        blank = np.arange(len(logits)) == 1
        table = task.answer_table(logits, blank, [""] * len(logits))
        assert table.num_rows == len(logits)
        assert all(table[name].is_null().to_pylist() == blank.tolist() for name in table.column_names)

    def test_predictions(self, task: LabelTask, logits: Floats) -> None:
        shares = task.probabilities(logits)
        predictions = task.decode(shares)
        assert len(predictions) == len(logits)
        for prediction, row in zip(predictions, shares, strict=True):
            scores = [entry.score for entry in prediction]
            assert scores == sorted(scores, reverse=True)
            expected = dict(zip(LABELS, row.tolist(), strict=True))
            assert {entry.label: entry.score for entry in prediction} == pytest.approx(expected)
        chosen = task.chosen(shares)
        assert all(set(names) <= set(LABELS) for names in chosen)

    def test_strata(self, task: LabelTask, rows: list[list[str]]) -> None:
        strata = task.strata({LABEL: rows})
        assert len(strata) == len(rows)
        assert all(isinstance(key, str) for key in strata)


def right_logits(task: LabelTask, targets: NDArray[Any]) -> Floats:
    """Return logits of -1 and 1 that match the targets."""
    matrix = targets if targets.ndim == 2 else np.eye(task.outputs, dtype=np.float32)[targets]
    return (matrix * 2 - 1).astype(np.float32)
