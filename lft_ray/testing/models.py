"""Contract of base models of any architecture: layers can be removed, networks run, are saved, and the head trains.

In: a `ModelSpec`, whose base may be a folder. Out: passed or failed tests. Never trains more than a head.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lft_ray.config import ModelSpec
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes

if TYPE_CHECKING:
    import torch

__all__ = ["BaseModelContract"]

TEXTS = ["the team won the match", "x", "stocks fell as the bank raised"]
MAX_LENGTH = 24


class BaseModelContract:
    """Subclass it with a fixture ``spec``. The base model needs at least two layers."""

    @pytest.fixture
    def spec(self) -> ModelSpec:
        """Your entry of ``models``, such as ``ModelSpec(base="/path/of/a/folder")``."""
        pytest.fail("a subclass of BaseModelContract needs a fixture spec that returns a ModelSpec")

    @pytest.mark.parametrize("layers", [1, 2])
    def test_each_depth_builds_predicts_and_survives_saving(self, spec: ModelSpec, layers: int, tmp_path: Path) -> None:
        import torch

        from lft_ray.models.network import TextNetwork, build, load, save

        spec = spec.model_copy(update={"layers": [layers]})
        (size,) = model_sizes([spec])
        base = find_base(spec)
        network = build(base, size, 4).eval()
        assert isinstance(network, TextNetwork)
        assert sum(weights.numel() for weights in network.backbone.parameters()) == size.params
        ids, mask = encoded(base.folder)
        with torch.inference_mode():
            features, logits = network.features(ids, mask), network(ids, mask)
        assert (features.shape, features.dtype) == ((3, size.hidden), torch.float32)
        assert (logits.shape, logits.dtype) == ((3, 4), torch.float32)
        assert torch.isfinite(logits).all()
        card = EngineCard(engine="torch", model_size=size.name, outputs=4, max_length=MAX_LENGTH, pooling=size.pooling)
        save(network, tmp_path, tokenizer_from=base.folder, card=card)
        assert torch.equal(load(tmp_path)(ids, mask), logits)

    def test_more_layers_have_more_parameters_and_flops(self, spec: ModelSpec) -> None:
        sizes = model_sizes([spec.model_copy(update={"layers": [1, 2]})])
        assert sizes[0].params < sizes[1].params
        assert sizes[0].flops_per_token < sizes[1].flops_per_token

    def test_a_head_learns_on_frozen_features(self, spec: ModelSpec) -> None:
        import torch

        from lft_ray.models.network import build

        base = find_base(spec)
        network = build(base, model_sizes([spec])[0], 3)
        ids, mask = encoded(base.folder)
        features = network.features(ids, mask).detach()
        optimizer = torch.optim.Adam(network.head.parameters(), lr=0.05)
        for _ in range(200):
            loss = torch.nn.functional.cross_entropy(network.head(features), torch.arange(3))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        assert network(ids, mask).argmax(1).tolist() == [0, 1, 2]


def encoded(folder: Path) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return token ids and attention mask of `TEXTS`, padded to the longest."""
    import torch

    from lft_ray.models.tokens import TextTokenizer

    rows = TextTokenizer(folder).encode(TEXTS, MAX_LENGTH)
    width = max(map(len, rows))
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return torch.tensor([list(row) + [0] * (width - len(row)) for row in rows]), mask
