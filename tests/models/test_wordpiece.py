"""A vocab.txt becomes the tokenizer that its settings describe, or a named error."""

import json
from pathlib import Path

import pytest

from lft_ray.errors import ModelError
from lft_ray.models.wordpiece import wordpiece_tokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def base(folder: Path, words: list[str], settings: object = None, ending: str = "\n") -> Path:
    (folder / "vocab.txt").write_bytes("".join(word + ending for word in [*SPECIALS, *words]).encode())
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("settings", "text", "tokens"),
    [
        (None, "Schön", ["schon"]),
        ({}, "Schön", ["schon"]),
        ({"do_lower_case": True, "strip_accents": False}, "Schön", ["schön"]),
        ({"do_lower_case": False, "strip_accents": True}, "Schön", ["Schon"]),
        ({"do_lower_case": False}, "Schön", ["Schön"]),
        ({"strip_accents": None}, "Schön", ["schon"]),
        ({"tokenize_chinese_chars": False}, "中国", ["中国"]),
        ({"tokenize_chinese_chars": True}, "中国", ["中", "国"]),
        ({"tokenizer_class": "BertTokenizerFast", "never_split": None}, "schon", ["schon"]),
    ],
)
def test_settings_are_honoured(settings, text, tokens, tmp_path):
    words = ["schon", "schön", "Schon", "Schön", "中国", "中", "国"]
    found = wordpiece_tokenizer(base(tmp_path, words, settings)).encode(text).tokens
    assert found == ["[CLS]", *tokens, "[SEP]"]


def test_special_tokens_have_the_names_of_the_base(tmp_path):
    lines = ["<pad>", "<unk>", "<s>", "</s>", "item"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"cls_token": "<s>", "sep_token": "</s>"}))
    own = {"unk_token": {"content": "<unk>"}, "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own))
    assert wordpiece_tokenizer(tmp_path).encode("item x").ids == [2, 4, 1, 3]


def test_windows_line_ends_are_no_part_of_a_token(tmp_path):
    assert wordpiece_tokenizer(base(tmp_path, ["item"], ending="\r\n")).encode("item").tokens[1] == "item"


def test_line_separators_inside_a_vocabulary_are_tokens(tmp_path):
    # Splitting at every Unicode line end would shift the ids of all words after it.
    assert wordpiece_tokenizer(base(tmp_path, ["\u2028", "\x85", "item"])).encode("item").ids[1] == 7


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class BertJapaneseTokenizer"),
        ({"tokenizer_class": "PhobertTokenizer"}, "tokenizer_class PhobertTokenizer"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize"),
        ({"never_split": ["item"]}, "never_split"),
        ({"do_lower_case": "yes"}, "do_lower_case"),
        ({"unk_token": "<unk>"}, "has no '<unk>', which is its unk_token"),
        ({"unk_token": 3}, "unk_token"),
        ([], "is not a JSON object"),
    ],
)
def test_other_tokenizers_and_damaged_settings_are_named(settings, says, tmp_path):
    with pytest.raises(ModelError, match=says):
        wordpiece_tokenizer(base(tmp_path, ["item"], settings))


def test_damaged_files_are_named(tmp_path):
    base(tmp_path, ["item"])
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read as JSON"):
        wordpiece_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    for content in (b"\xff\xfe", b"", b"a\nb\n"):
        (tmp_path / "vocab.txt").write_bytes(content)
        with pytest.raises(ModelError, match=r"vocab\.txt"):
            wordpiece_tokenizer(tmp_path)
