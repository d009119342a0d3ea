"""Which variables become weights: scopes, heads, optimizers, and networks that are no BERT."""

import pytest

from lft_ray.errors import ModelError
from lft_ray.models.tensorflow.bert import architecture, plan
from tests.models.tensorflow.write_checkpoint import CONFIG, arrays, vocabulary

NET = architecture({**CONFIG, "vocab_size": len(vocabulary())}, where="bert_config.json")
SHAPES = {name: value.shape for name, value in arrays().items()}
NETWORK = {name: shape for name, shape in SHAPES.items() if name.startswith("bert/")}


def planned(shapes):
    return plan(shapes, NET, where="x.index")


def test_weights_heads_and_slots_are_told_apart():
    slots = {
        f"bert/pooler/dense/kernel/{slot}": (8, 8)
        for slot in ("adam_m", "Adam_1", "lamb_v", "ExponentialMovingAverage")
    }
    training = {"global_step": (), "beta1_power": (), "loss_scale": ()}
    found = planned({**SHAPES, **slots, **training, "output_weights": (3, 8), "another": ()})
    assert (found.scope, len(found.weights), found.has_pooler) == ("bert/", len(NETWORK), True)
    assert set(found.optimizer) == {*slots, *training}
    assert len(found.heads) == 8
    assert found.others == ("another",)


def test_matrices_are_transposed_and_tables_are_not():
    turned = {weight.name for weight in planned(NETWORK).weights if weight.is_transposed}
    assert turned == {name.removeprefix("bert/") for name in NETWORK if name.endswith("kernel")}


@pytest.mark.parametrize("scope", ["", "module/bert/", "student/"])
def test_any_scope(scope):
    found = planned({scope + name.removeprefix("bert/"): shape for name, shape in NETWORK.items()})
    assert (found.scope, len(found.weights)) == (scope, len(NETWORK))


def test_several_networks_are_named():
    shapes = {f"{scope}/embeddings/word_embeddings": (121, 8) for scope in ("teacher", "student")}
    with pytest.raises(ModelError, match=r"several networks: student/, teacher/"):
        planned(shapes)


def test_a_pooler_may_be_missing_but_not_half_of_it():
    without = {name: shape for name, shape in NETWORK.items() if "pooler" not in name}
    assert not planned(without).has_pooler
    with pytest.raises(ModelError, match="pooler/dense/kernel"):
        planned({**without, "bert/pooler/dense/bias": (8,)})


def test_a_missing_variable_is_named():
    name = "bert/encoder/layer_0/output/LayerNorm/beta"
    with pytest.raises(ModelError, match=f"lacks 1 of the variables that its config requires: {name}"):
        planned({known: shape for known, shape in SHAPES.items() if known != name})


@pytest.mark.parametrize("layers", [1, 3])
def test_another_number_of_layers_is_told(layers):
    shapes = {name: value.shape for name, value in arrays(layers).items()}
    with pytest.raises(ModelError, match=f"it has {layers} layers, and the config says 2"):
        planned(shapes)


def test_what_is_no_bert_is_told():
    with pytest.raises(ModelError, match="embeddings_project/kernel"):
        planned({**NETWORK, "bert/embeddings_project/kernel": (8, 8)})
    with pytest.raises(ModelError, match="is no checkpoint of BERT"):
        planned({"conv1/kernel": (3, 3)})
    with pytest.raises(ModelError, match="it has: none"):
        planned({})


def test_shapes_are_those_of_the_config():
    with pytest.raises(ModelError, match=r"word_embeddings is \[99, 8\], not \[121, 8\]"):
        planned({**SHAPES, "bert/embeddings/word_embeddings": (99, 8)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "albert"}, "model_type 'albert'"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"hidden_size": "8"}, "hidden_size '8'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0"),
        ({"num_attention_heads": 3}, "no multiple of num_attention_heads 3"),
        ({"intermediate_size": None}, "missing or invalid"),
    ],
)
def test_a_config_of_another_network_is_an_error(change, words):
    with pytest.raises(ModelError, match=words):
        architecture({**CONFIG, "vocab_size": 9, **change}, where="bert_config.json")
