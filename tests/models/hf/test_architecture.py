"""Architectures run through transformers: counted, cut, and unsupported ones refused."""

import json
import shutil
from pathlib import Path

import pytest

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError
from lft_ray.models.hf.architecture import HfArchitecture
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import check_lengths, model_sizes
from tests.models.hf.networks import network_of


def test_sizes_count_weights_once_and_work_as_often_as_it_is_done(folder):
    one, two = model_sizes([ModelSpec(base=str(folder), layers=[1, 2])])
    network = network_of(folder, 2)
    assert two.params == sum(weights.numel() for weights in network.backbone.parameters())
    assert (one.params == two.params) == (two.family == "albert")
    assert one.encoder_params < two.encoder_params
    assert one.flops_per_token < two.flops_per_token
    limit = {"deberta-v2": None, "t5": None, "mpnet": 126}.get(two.family, 128)
    assert two.max_tokens == limit
    check_lengths([two], 126)
    assert two.pooling == ("last" if two.family in {"qwen2", "qwen3", "llama"} else "mean")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bart"}, "encoder-decoder"),
        ({"model_type": "vit"}, "not a text model"),
        ({"model_type": "clip"}, "several networks"),
        ({"model_type": "electra", "quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
        ({"model_type": "electra", "auto_map": {"AutoModel": "evil.Model"}}, "requires code from the hub"),
        ({"model_type": "nothing-like-it"}, "nor known to transformers"),
    ],
)
def test_other_networks_are_refused(config, message):
    with pytest.raises(ModelError, match=message):
        HfArchitecture.from_config(config, where="x")


def test_a_word_list_is_no_tokenizer(tiny_electra, tmp_path):
    folder = Path(shutil.copytree(tiny_electra, tmp_path / "base"))
    (folder / "tokenizer.json").rename(folder / "vocab.txt")
    with pytest.raises(ModelError, match="save_pretrained"):
        find_base(ModelSpec(base=str(folder)))


def test_xlm_roberta_runs_in_our_own_encoder(tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "xlm-roberta", "pad_token_id": 1}))
    network = network_of(folder)
    assert (network.shape.family, network.pad_id, network.shape.max_tokens) == ("roberta", 1, 510)
