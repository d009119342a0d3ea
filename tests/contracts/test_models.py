"""What every base model does, whatever its family."""

import pytest
import torch

from lft_ray.config import ModelSpec
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.ladder import LADDER
from lft_ray.models.network import TextNetwork, build, load, save
from lft_ray.models.resolve import BaseFiles, find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tokens import TextTokenizer

BASES = ["tiny_bert", "tiny_gpt", "tiny_electra", "minilm"]


@pytest.fixture(params=BASES)
def spec(request) -> ModelSpec:
    value = request.getfixturevalue(request.param)
    return value if isinstance(value, ModelSpec) else ModelSpec(base=str(value))


def texts_of(folder, max_length=24) -> tuple[torch.Tensor, torch.Tensor]:
    rows = TextTokenizer(folder).encode(["the team won the match", "x", "stocks fell as the bank raised"], max_length)
    width = max(map(len, rows))
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return torch.tensor([row + [0] * (width - len(row)) for row in rows]), mask


@pytest.mark.parametrize("layers", [1, 2])
def test_each_depth_builds_answers_and_survives_saving(spec, layers, tmp_path):
    spec = spec.model_copy(update={"layers": [layers]})
    (size,) = model_sizes([spec])
    base = find_base(spec)
    network = build(base, size, 4).eval()
    assert isinstance(network, TextNetwork)
    assert sum(weights.numel() for weights in network.backbone.parameters()) == size.params
    ids, mask = texts_of(base.folder)
    with torch.inference_mode():
        features, logits = network.features(ids, mask), network(ids, mask)
    assert (features.shape, features.dtype) == ((3, size.hidden), torch.float32)
    assert (logits.shape, logits.dtype) == ((3, 4), torch.float32)
    assert torch.isfinite(logits).all()
    card = EngineCard(engine="torch", model_size=size.name, outputs=4, max_length=24, pooling=size.pooling)
    save(network, tmp_path, tokenizer_from=base.folder, card=card)
    assert torch.equal(load(tmp_path)(ids, mask), logits)


def test_deeper_is_larger_and_dearer(spec):
    sizes = model_sizes([spec.model_copy(update={"layers": [1, 2]})])
    assert sizes[0].params < sizes[1].params
    assert sizes[0].flops_per_token < sizes[1].flops_per_token


def test_a_head_learns_on_frozen_features(spec):
    base = find_base(spec)
    network = build(base, model_sizes([spec])[0], 3)
    ids, mask = texts_of(base.folder)
    features = network.features(ids, mask).detach()
    optimizer = torch.optim.Adam(network.head.parameters(), lr=0.05)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(network.head(features), torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network(ids, mask).argmax(1).tolist() == [0, 1, 2]


SMALLEST = ["bert-l2-h128", "bert-l2-h256"]


@pytest.mark.parametrize("name", SMALLEST)
def test_an_entry_of_the_ladder_has_the_parameters_it_says(name, tmp_path):
    import json

    (tmp_path / "config.json").write_text(json.dumps(LADDER[name].architecture.to_config()))
    (size,) = model_sizes([ModelSpec(base=name)])
    network = build(BaseFiles(tmp_path, "folder", "local"), size, 2, random=True)
    assert sum(weights.numel() for weights in network.backbone.parameters()) == LADDER[name].params
