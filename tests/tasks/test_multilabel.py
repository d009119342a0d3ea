"""Multilabel: label columns, loss, threshold, strata."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel


def test_multilabel_loss_is_the_sum_over_labels():
    task = Multilabel(["a", "b", "c"])
    assert float(task.loss(torch.zeros(2, 3), torch.zeros(2, 3), None)) == pytest.approx(6 * np.log(2), rel=1e-5)


def test_multilabel_columns():
    assert Multilabel.read_targets(pa.array([["a", "b"], [], None, ["", None]])) == [["a", "b"], [], [], []]
    assert Multilabel.read_targets(pa.array(["a,b", "", None, " c , d"])) == [["a", "b"], [], [], [" c ", " d"]]


def test_threshold():
    task = Multilabel(["a", "b"])
    assert task.chosen(np.array([[0.5, 0.49], [0.1, 0.2]], dtype=np.float32)) == [["a"], []]


def test_rows_are_stratified_by_their_rarest_label():
    rows = [["common", "rare"], ["common"], [], ["rare", "common"], ["common"]]
    assert Multilabel(["common", "rare"]).strata({"label": rows}) == ["rare", "common", "", "rare", "common"]
    assert Classification(["a"]).strata({"label": [["a"]]}) == ["a"]


def test_class_weights_of_absent_labels_are_one():
    task = Multilabel(["a", "b"])
    assert task.class_weights(np.array([[1, 0], [1, 0]], dtype=np.float32)).tolist() == [1.0, 1.0]


def test_metrics_of_multilabel_count_a_row_only_if_every_label_is_right():
    task = Multilabel(["a", "b"])
    logits = np.array([[5, -5], [5, 5], [-5, -5]], dtype=np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32)
    found = task.metrics(targets, logits)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(0.5)
    assert [panel.title for panel in task.panels(targets, task.answers(logits))] == ["Labels"]


def test_a_label_without_rows_or_predictions_is_left_out_of_macro_f1():
    targets = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    assert Multilabel(["a", "b", "c"]).metrics(targets, targets * 20 - 10)["macro_f1"] == 1.0


def test_probabilities_of_multilabel_do_not_overflow():
    found = Multilabel(["a", "b"]).probabilities(np.array([[-1000.0, 1000.0]], dtype=np.float32))
    assert found.tolist() == [[0.0, 1.0]]


def test_distill_loss_of_multilabel_is_zero_at_the_teacher():
    task = Multilabel(["a", "b"])
    teacher = torch.tensor([[1.0, -2.0]])
    assert float(task.distill_loss(teacher, teacher, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(task.distill_loss(teacher + 1, teacher, 2.0)) > 0.01


def test_encode_of_multilabel_rejects_an_unknown_label():
    assert Multilabel(["a", "b"]).encode({"label": [["b"], []]}).tolist() == [[0.0, 1.0], [0.0, 0.0]]
    with pytest.raises(DataError, match="'c'"):
        Multilabel(["a"]).encode({"label": [["c"]]})
