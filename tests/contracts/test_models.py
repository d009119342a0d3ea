"""What every base model does, whatever its family."""

import json

import pytest

from lft_ray.config import ModelSpec
from lft_ray.models.ladder import LADDER
from lft_ray.models.network import build
from lft_ray.models.resolve import BaseFiles
from lft_ray.models.sizes import model_sizes
from lft_ray.testing.models import BaseModelContract

BASES = ["tiny_bert", "tiny_gpt", "tiny_electra", "minilm"]
SMALLEST = ["bert-l2-h128", "bert-l2-h256"]


class TestFamilies(BaseModelContract):
    @pytest.fixture(params=BASES)
    def spec(self, request):
        value = request.getfixturevalue(request.param)
        return value if isinstance(value, ModelSpec) else ModelSpec(base=str(value))


@pytest.mark.parametrize("name", SMALLEST)
def test_an_entry_of_the_ladder_has_the_parameters_it_says(name, tmp_path):
    architecture = LADDER[name].architecture
    assert architecture is not None
    (tmp_path / "config.json").write_text(json.dumps(architecture.to_config()))
    (size,) = model_sizes([ModelSpec(base=name)])
    network = build(BaseFiles(tmp_path, "folder", "local"), size, 2, random=True)
    assert sum(weights.numel() for weights in network.backbone.parameters()) == LADDER[name].params
