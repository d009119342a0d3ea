"""Networks: equal to transformers' own, cut, saved, loaded, cast."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lft_ray.config import ModelSpec
from lft_ray.errors import BundleError, ModelError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import TextNetwork, at_precision, build, load, save
from lft_ray.models.resolve import BaseFiles, find_base
from lft_ray.models.sizes import model_sizes


def network_of(spec: ModelSpec, outputs: int = 3, **options) -> TextNetwork:
    return build(find_base(spec), model_sizes([spec])[0], outputs, **options).eval()


def batch(vocab: int = 200, rows: int = 6, width: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocab, (rows, width), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    mask[3, 1:] = 0
    return ids, mask


def widest_difference(network: TextNetwork, reference: torch.nn.Module, vocab: int) -> float:
    ids, mask = batch(vocab)
    with torch.inference_mode():
        ours = network.backbone(ids, mask)
        theirs = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    return float(((ours - theirs).abs() * mask.unsqueeze(-1)).max())


SMALL = {"vocab_size": 300, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
SHAPES = {
    "Bert": SMALL | {"hidden_size": 32, "intermediate_size": 64},
    "Roberta": SMALL | {"hidden_size": 32, "intermediate_size": 64, "type_vocab_size": 1},
    "DistilBert": SMALL | {"dim": 32, "hidden_dim": 64},
    "GPT2": {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": 299},
}


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("with_head", [False, True])
def test_states_are_those_of_transformers(family, with_head, tmp_path, tiny_bert):
    import transformers

    config = getattr(transformers, f"{family}Config")(**SHAPES[family])
    name = f"{family}Model" if not with_head else "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForMaskedLM"
    reference = getattr(transformers, name)(config).eval()
    torch.manual_seed(0)
    for weights in reference.parameters():
        torch.nn.init.normal_(weights, 0.0, 0.3)
    reference.save_pretrained(tmp_path)
    shutil.copyfile(tiny_bert / "tokenizer.json", tmp_path / "tokenizer.json")
    spec = ModelSpec(base=str(tmp_path))
    network = network_of(spec)
    inner = reference.base_model if with_head else reference
    assert widest_difference(network, inner, 99) < 2e-6
    pooler = getattr(inner, "pooler", None)
    beside = sum(p.numel() for p in pooler.parameters()) if pooler is not None else 0
    assert model_sizes([spec])[0].params == sum(p.numel() for p in inner.parameters()) - beside


@pytest.mark.parametrize("layers", [1, 6])
def test_minilm_cut_is_that_of_transformers(minilm, layers):
    import transformers

    spec = minilm.model_copy(update={"layers": [layers]})
    config = transformers.AutoConfig.from_pretrained(find_base(spec).folder, num_hidden_layers=layers)
    reference = transformers.BertModel.from_pretrained(find_base(spec).folder, config=config, add_pooling_layer=False)
    network = network_of(spec)
    assert len(network.backbone.layers) == layers
    assert widest_difference(network, reference.eval(), 30000) < 1e-5


def test_tensorflow_names_and_prefixes_are_read(tiny_bert, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "old"))
    old = {}
    for name, value in load_file(folder / "model.safetensors").items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old[f"bert.{name}"] = value
    save_file(old | {"cls.predictions.bias": torch.zeros(3)}, folder / "model.safetensors")
    ids, mask = batch()
    ours = network_of(ModelSpec(base=str(folder)))(ids, mask)
    assert torch.equal(ours, network_of(ModelSpec(base=str(tiny_bert)))(ids, mask))


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
def test_padding_does_not_change_logits(fixture, request):
    network = network_of(ModelSpec(base=str(request.getfixturevalue(fixture))))
    ids, mask = batch()
    with torch.inference_mode():
        together = network(ids, mask)
        for row in range(len(ids)):
            length = int(mask[row].sum())
            alone = network(ids[row : row + 1, :length], mask[row : row + 1, :length])
            assert torch.allclose(alone[0], together[row], atol=1e-5)


def test_a_decoder_reads_its_last_token(tiny_gpt):
    network = network_of(ModelSpec(base=str(tiny_gpt)))
    assert network.pooling == "last"
    assert network.pad_id == network.shape.vocab - 1
    ids, mask = batch()
    states = network.backbone(ids, mask)
    assert torch.equal(network.features(ids, mask)[0], states[0, 6])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_poolings(tiny_bert, pooling):
    shape = network_of(ModelSpec(base=str(tiny_bert))).shape
    network = TextNetwork(shape, 3, pooling)
    ids, mask = batch()
    states, features = network.backbone(ids, mask), network.features(ids, mask)
    own = {"mean": states[0, :7].mean(0), "cls": states[0, 0], "last": states[0, 6]}[pooling]
    assert torch.allclose(features[0], own, atol=1e-6)
    with pytest.raises(ModelError, match="unknown pooling"):
        TextNetwork(shape, 3, "max")


def test_builds_are_seeded_and_leave_the_global_random_state_alone(tiny_bert):
    spec = ModelSpec(base=str(tiny_bert))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (network_of(spec, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.backbone.tokens.weight, other.backbone.tokens.weight)


def test_training_one_network_changes_no_other(tiny_bert):
    spec = ModelSpec(base=str(tiny_bert))
    first, second = network_of(spec), network_of(spec)
    with torch.no_grad():
        for weights in first.parameters():
            weights.add_(1.0)
    assert not torch.equal(first.backbone.tokens.weight, second.backbone.tokens.weight)
    third = network_of(spec)
    assert all(torch.equal(a, b) for a, b in zip(second.parameters(), third.parameters(), strict=True))


def test_a_second_build_reads_no_file(tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "base"))
    spec = ModelSpec(base=str(folder))
    base, size = find_base(spec), model_sizes([spec])[0]
    build(base, size, 3)
    (folder / "model.safetensors").unlink()
    assert build(base, size, 3).outputs == 3


def test_random_weights_need_only_a_config(tiny_bert, tmp_path):
    shutil.copyfile(tiny_bert / "config.json", tmp_path / "config.json")
    size = model_sizes([ModelSpec(base=str(tiny_bert))])[0]
    network = build(BaseFiles(tmp_path, "folder", "local"), size, 3, random=True)
    ids, mask = batch()
    assert torch.isfinite(network(ids, mask)).all()
    assert sum(p.numel() for p in network.backbone.parameters()) == size.params


def test_every_weight_gets_a_gradient(tiny_bert, tiny_gpt):
    for folder in (tiny_bert, tiny_gpt):
        network = network_of(ModelSpec(base=str(folder))).train()
        ids, mask = batch()
        network(ids, mask).square().sum().backward()
        assert all(weights.grad is not None for weights in network.parameters())


def test_bfloat16_logits_are_close_and_float32(tiny_bert):
    network = network_of(ModelSpec(base=str(tiny_bert)))
    ids, mask = batch()
    with torch.inference_mode():
        exact = network(ids, mask)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(ids, mask)
        cast = at_precision(copy.deepcopy(network), "bf16")(ids, mask)
        whole = copy.deepcopy(network).to(torch.bfloat16)(ids, mask)
    for near in (mixed, cast, whole):
        assert near.dtype == torch.float32
        assert (near.softmax(-1) - exact.softmax(-1)).abs().max() < 0.02
    assert network.backbone.tokens.weight.dtype == torch.float32
    with pytest.raises(ModelError, match="unknown precision"):
        at_precision(network, "int8")


def card_of(network: TextNetwork, **changes) -> EngineCard:
    facts = {"engine": "torch", "model_size": "tiny:2", "outputs": network.outputs, "max_length": 64}
    return EngineCard(**(facts | {"pooling": network.pooling} | changes))


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_gpt"])
def test_saved_and_loaded_is_the_same(fixture, request, tmp_path):
    folder = request.getfixturevalue(fixture)
    network = network_of(ModelSpec(base=str(folder), layers=[1]))
    save(network, tmp_path / "saved", tokenizer_from=folder, card=card_of(network))
    again = load(tmp_path / "saved")
    ids, mask = batch()
    assert torch.equal(again(ids, mask), network(ids, mask))
    assert again.shape == network.shape
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["config.json", "engine.json", "model.safetensors", "tokenizer.json"]


def test_a_card_that_does_not_fit_is_refused(tiny_bert, tmp_path):
    network = network_of(ModelSpec(base=str(tiny_bert)))
    with pytest.raises(ModelError, match="engine card says"):
        save(network, tmp_path, tokenizer_from=tiny_bert, card=card_of(network, outputs=9))


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-10])


def break_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def break_card(folder: Path) -> None:
    (folder / "engine.json").write_text("{}")


def break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("damage", [break_weights, break_shape, break_card, break_tokenizer])
def test_a_damaged_folder_is_refused(damage, tiny_bert, tmp_path):
    network = network_of(ModelSpec(base=str(tiny_bert)))
    save(network, tmp_path, tokenizer_from=tiny_bert, card=card_of(network))
    damage(tmp_path)
    with pytest.raises(BundleError):
        load(tmp_path)


@pytest.mark.parametrize("damage", [break_weights, break_shape])
def test_a_damaged_base_is_refused(damage, tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "base"))
    damage(folder)
    with pytest.raises(ModelError):
        network_of(ModelSpec(base=str(folder)))
