from itertools import pairwise

import pytest
import torch
from torch import nn

from lft_ray.train.optim import build_optimizer, learning_rate_factor, set_learning_rate


def test_rate_rises_then_falls_to_zero():
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[-1] == pytest.approx(1 / 90)
    assert all(a < b for a, b in pairwise(factors[:11]))
    assert all(a > b for a, b in pairwise(factors[10:]))


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_short_schedules_have_a_rate(total, warmup):
    assert all(0 < learning_rate_factor(step, total, warmup) <= 1 for step in range(total))


def test_no_decay_on_vectors():
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = build_optimizer(network, 1e-3, 0.1)
    decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[network[0].weight] == 0.1
    assert decay[network[0].bias] == decay[network[1].weight] == decay[network[1].bias] == 0.0
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_frozen_parameters_are_left_out():
    network = nn.Linear(3, 4)
    network.bias.requires_grad_(False)
    optimizer = build_optimizer(network, 1e-3, 0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
