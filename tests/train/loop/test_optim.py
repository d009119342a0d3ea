import pytest
import torch
from torch import nn

from lft_ray.config import ModelSpec
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.train.loop.optim import build_optimizer, rate_factors, set_learning_rate
from lft_ray.train.methods.freeze import UpperLayers
from lft_ray.train.methods.vocabulary import train_seen_tokens


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


def built(folder):
    spec = ModelSpec(base=str(folder))
    return build(find_base(spec), model_sizes([spec])[0], 3)


@pytest.mark.parametrize(
    ("base", "parts"),
    [
        ("tiny_bert", {"backbone.tokens": 3, "backbone.norm": 3, "backbone.layers.0": 2, "backbone.layers.1": 1}),
        ("tiny_gpt", {"backbone.tokens": 3, "backbone.layers.0": 2, "backbone.layers.1": 1, "backbone.norm": 1}),
        ("tiny_electra", {"backbone.model.embeddings": 3, "backbone.model.encoder.layer.0": 2}),
    ],
)
def test_rates_fall_from_the_head_down(request, base, parts):
    network = built(request.getfixturevalue(base))
    factors = rate_factors([name for name, _ in network.named_parameters()], 0.5)
    for part, steps in {**parts, "head": 0}.items():
        assert {f for name, f in factors.items() if name.startswith(f"{part}.")} == {0.5**steps}, part
    optimizer = build_optimizer(network, 1.0, 0.1, 0.5)
    set_learning_rate(optimizer, 1e-3)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(network.head.weight)] == 1e-3
    found = sorted({rates[id(p)] / 1e-3 for p in network.parameters()})
    assert found == pytest.approx([0.125, 0.25, 0.5, 1.0])


def test_layers_above_frozen_ones_keep_their_factors(tiny_bert):
    network = built(tiny_bert)
    whole = rate_factors([name for name, _ in network.named_parameters()], 0.5)
    above = rate_factors([name for name, _ in UpperLayers(network, 1).named_parameters()], 0.5)
    assert above["layers.0.up.weight"] == whole["backbone.layers.1.up.weight"] == 0.5
    assert above["head.bias"] == 1.0


def test_lower_layers_move_less(loop_job):
    def moved(decay):
        job = loop_job(config={"layer_decay": decay, "epochs": 1})
        before = {name: value.clone() for name, value in job.network.state_dict().items()}
        train_seen_tokens(job, lambda _: None, lambda: False)
        after = job.network.state_dict()
        return {n: float((after[n] - before[n]).norm()) for n in ("backbone.tokens.weight", "head.weight")}

    plain, decayed = moved(None), moved(0.1)
    assert decayed["backbone.tokens.weight"] < 0.05 * plain["backbone.tokens.weight"]
    assert decayed["head.weight"] > 0.5 * plain["head.weight"]
