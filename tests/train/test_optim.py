import torch
from torch import nn

from lft_ray.train.optim import build_optimizer, set_learning_rate


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
