"""What the losses are, and what a multilabel row's stratum is."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel


def test_two_labels_are_binary_cross_entropy_of_the_difference():
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % 2
    ours = Classification(["no", "yes"]).loss(logits, targets, None)
    binary = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 1] - logits[:, 0], targets.float(), reduction="sum"
    )
    assert torch.allclose(ours, binary, rtol=1e-5)


def test_weights_count_a_class_more():
    task = Classification(["a", "b"])
    logits, targets = torch.zeros(3, 2), torch.tensor([0, 0, 1])
    weights = torch.from_numpy(task.class_weights(targets.numpy()))
    assert weights.tolist() == pytest.approx([0.75, 1.5])
    assert float(task.loss(logits, targets, weights)) == pytest.approx(3 * np.log(2), rel=1e-5)


def test_multilabel_loss_is_the_sum_over_labels():
    task = Multilabel(["a", "b", "c"])
    assert float(task.loss(torch.zeros(2, 3), torch.zeros(2, 3), None)) == pytest.approx(6 * np.log(2), rel=1e-5)


def test_lists_are_no_single_label():
    with pytest.raises(DataError, match="lists"):
        Classification.read_targets(pa.array([["a"]]))


def test_multilabel_columns():
    assert Multilabel.read_targets(pa.array([["a", "b"], [], None, ["", None]])) == [["a", "b"], [], [], []]
    assert Multilabel.read_targets(pa.array(["a,b", "", None, " c , d"])) == [["a", "b"], [], [], [" c ", " d"]]


def test_threshold():
    task = Multilabel(["a", "b"])
    assert task.chosen(np.array([[0.5, 0.49], [0.1, 0.2]], dtype=np.float32)) == [["a"], []]


def test_rows_are_stratified_by_their_rarest_label():
    rows = [["common", "rare"], ["common"], [], ["rare", "common"], ["common"]]
    assert Multilabel(["common", "rare"]).strata(rows) == ["rare", "common", "", "rare", "common"]
    assert Classification(["a"]).strata([["a"]]) == ["a"]


def test_class_weights_of_absent_labels_are_one():
    task = Multilabel(["a", "b"])
    assert task.class_weights(np.array([[1, 0], [1, 0]], dtype=np.float32)).tolist() == [1.0, 1.0]
