"""Networks run through transformers: equal to its own, cut, saved, opened, trained."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lft_ray.config import ModelSpec
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.errors import ModelError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import at_precision, build, load, save
from lft_ray.models.resolve import BaseFiles
from lft_ray.models.sizes import model_sizes
from tests.models.hf.networks import batch, network_of


@pytest.mark.parametrize("layers", [1, 2])
def test_states_are_those_of_transformers(folder, layers):
    from transformers import AutoConfig, AutoModel, T5EncoderModel

    config = AutoConfig.from_pretrained(folder)
    network_class = T5EncoderModel if config.model_type == "t5" else AutoModel
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    reference = network_class.from_pretrained(folder, config=config, attn_implementation="eager").eval()
    network = network_of(folder, layers)
    ids, mask = batch(network.pad_id)
    with torch.inference_mode():
        ours = network.backbone(ids, mask)
        theirs = reference(input_ids=ids, attention_mask=mask)[0]
    assert float(((ours - theirs).abs() * mask.unsqueeze(-1)).max()) < 2e-6
    assert float(ours.std()) > 0.1


def test_saved_and_opened_is_the_same(folder, tmp_path):
    network = network_of(folder, 1)
    size = model_sizes([ModelSpec(base=str(folder), layers=[1])])[0]
    card = EngineCard(engine="torch", model_size=size.name, outputs=3, max_length=64, pooling=size.pooling)
    save(network, tmp_path, tokenizer_from=folder, card=card)
    again = load(tmp_path)
    assert again.shape == network.shape
    ids, mask = batch(network.pad_id)
    with torch.inference_mode():
        assert torch.equal(again(ids, mask), network(ids, mask))
        near = at_precision(copy.deepcopy(network), "bf16")(ids, mask)
        assert (near.softmax(-1) - network(ids, mask).softmax(-1)).abs().max() < 0.03
    runner = TorchEngine.open(tmp_path, precision="fp32", threads=1)
    assert runner.run(runner.encode(["the team won", "x"])).shape == (2, 3)


def test_every_trained_weight_gets_a_gradient_and_no_dropout_is_left(folder):
    network = network_of(folder).train()
    ids, mask = batch(network.pad_id)
    assert torch.equal(network(ids, mask), network(ids, mask))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(ids, mask)
    logits.square().sum().backward()
    assert all(weights.grad is not None for weights in network.parameters() if weights.requires_grad)
    assert all(weights.requires_grad for weights in network.parameters())


def test_training_one_network_changes_no_other(tiny_electra):
    first, second = network_of(tiny_electra), network_of(tiny_electra)
    with torch.no_grad():
        for weights in first.parameters():
            weights.add_(1.0)
    third = network_of(tiny_electra)
    assert all(torch.equal(a, b) for a, b in zip(second.parameters(), third.parameters(), strict=True))


def test_random_weights_need_only_a_config_and_are_seeded(tiny_electra, tmp_path):
    shutil.copyfile(tiny_electra / "config.json", tmp_path / "config.json")
    size = model_sizes([ModelSpec(base=str(tiny_electra))])[0]
    before = torch.random.get_rng_state()
    first, again, other = (
        build(BaseFiles(tmp_path, "folder", "local"), size, 3, random=True, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_names_of_heads_are_left_out_and_missing_weights_named(tiny_electra, tmp_path):
    folder = Path(shutil.copytree(tiny_electra, tmp_path / "base"))
    whole = load_file(folder / "model.safetensors")
    prefixed = {f"electra.{name}": value for name, value in whole.items()}
    save_file(prefixed | {"generator_predictions.dense.bias": torch.zeros(3)}, folder / "model.safetensors")
    ids, mask = batch(0)
    assert torch.equal(network_of(folder)(ids, mask), network_of(tiny_electra)(ids, mask))
    other = Path(shutil.copytree(tiny_electra, tmp_path / "other"))
    lost = {name: value for name, value in whole.items() if "layer.1.output.dense" not in name}
    save_file(lost, other / "model.safetensors")
    with pytest.raises(ModelError, match=r"have no encoder.layer.1.output.dense.*\(2 missing\)"):
        network_of(other)
