"""Architecture: read from and written to config.json, cut, counted."""

import json

import pytest

from lft_ray.errors import ModelError
from lft_ray.models.architecture import FAMILIES, Architecture
from lft_ray.models.ladder import LADDER


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
        ({"auto_map": {"AutoModel": "x--y.Z"}}, "requires code from the hub"),
        ({"trust_remote_code": True}, "requires code from the hub"),
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


def test_cut_removes_layers_and_nothing_else():
    whole = LADDER["minilm"].architecture
    cut = whole.cut(2)
    assert cut.encoder_params * 3 == whole.encoder_params
    assert cut.embedding_params == whole.embedding_params
    assert whole.cut(6) == whole


def test_flops_per_token_grow_with_the_text_by_attention_alone():
    shape = LADDER["minilm"].architecture
    assert shape.flops_per_token(100) - shape.flops_per_token(0) == 4 * 6 * 384 * 100
