"""Classification: loss, class weights, label columns."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification


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


def test_lists_are_no_single_label():
    with pytest.raises(DataError, match="lists"):
        Classification.read_targets(pa.array([["a"]]))
