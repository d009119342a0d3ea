"""The files of a base are checked against each other when the base is found."""

import json
import shutil
from pathlib import Path

import pytest

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError
from lft_ray.models.resolve import find_base


@pytest.fixture(params=["tiny_bert", "tiny_gpt"])
def base(request, tmp_path) -> Path:
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "base"))


def change(path: Path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def refused(base: Path, says: str) -> ModelError:
    with pytest.raises(ModelError, match=says) as caught:
        find_base(ModelSpec(base=str(base)))
    return caught.value


def test_an_intact_base_is_found(base):
    assert find_base(ModelSpec(base=str(base))).folder == base


def test_an_added_token_beyond_the_embedding_names_both_numbers(base):
    rows = json.loads((base / "config.json").read_text())["vocab_size"]
    added = {"id": rows, "content": "<url>", "special": True, "single_word": False}
    added |= {"lstrip": False, "rstrip": False, "normalized": False}
    change(base / "tokenizer.json", lambda value: value["added_tokens"].append(added))
    error = refused(base, f"1 id beyond the embedding table of {rows} rows: '<url>' is {rows}")
    assert (error.exit_code, "resize_token_embeddings" in error.fix) == (2, True)


def test_a_config_that_does_not_fit_the_weights(base):
    change(base / "config.json", lambda value: value.update(vocab_size=value["vocab_size"] + 1))
    refused(base, "config.json says vocab_size")


def test_a_padding_id_outside_the_table(base):
    key = "pad_token_id" if "bert" in (base / "config.json").read_text() else "eos_token_id"
    change(base / "config.json", lambda value: value.update({key: 10**6}))
    refused(base, "the padding id 1000000 is outside")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version": "1.0"'])
def test_a_damaged_tokenizer(base, content):
    (base / "tokenizer.json").write_bytes(content)
    refused(base, "cannot be read as a tokenizer")


def test_cut_weights(base):
    whole = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(base, r"model\.safetensors cannot be read")


def test_a_tokenizer_without_its_unknown_token(tiny_bert, tmp_path):
    base = Path(shutil.copytree(tiny_bert, tmp_path / "base"))

    def edit(value):
        value["model"]["unk_token"] = "[NONE]"

    change(base / "tokenizer.json", edit)
    refused(base, "fails on texts with unknown words")


def test_a_vocabulary_of_another_family_is_not_read_as_word_pieces(tiny_bert, tmp_path):
    base = Path(shutil.copytree(tiny_bert, tmp_path / "base"))
    (base / "tokenizer.json").unlink()
    (base / "vocab.txt").write_text("xin 120\nchao 95\n")
    change(base / "config.json", lambda value: value.update(model_type="roberta"))
    refused(base, "a base of family roberta needs, and its vocab.txt holds no word pieces")
