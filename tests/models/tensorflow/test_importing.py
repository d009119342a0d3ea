"""Imported folders: the logits of the same arrays through transformers, nothing half written, nothing lost."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lft_ray.config import ModelSpec
from lft_ray.errors import InputError, ModelError, StorageError
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tensorflow import importing
from lft_ray.models.tensorflow.checkpoint import Checkpoint
from lft_ray.models.tensorflow.importing import import_checkpoint
from lft_ray.models.tokens import TextTokenizer
from tests.models.tensorflow.write_checkpoint import CONFIG, FOLDER, PREFIX, arrays, vocabulary


@pytest.fixture
def source(tmp_path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "uncased_tiny")
    return tmp_path / "uncased_tiny"


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "out" / "tiny"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def by_hand() -> dict[str, torch.Tensor]:
    """The arrays under the names of transformers, translated here once more."""
    state = {}
    for name, value in arrays().items():
        if name.startswith("bert/"):
            known = name.removeprefix("bert/").replace("/", ".").replace("layer_", "layer.")
            known = re.sub(r"gamma$|kernel$", "weight", known)
            known = re.sub(r"beta$", "bias", known)
            known += ".weight" if known.endswith("_embeddings") else ""
            state[known] = torch.from_numpy(value.T.copy() if name.endswith("kernel") else value)
    return state


def test_hidden_states_and_pooler_are_those_of_the_same_arrays(source, target):
    from transformers import BertConfig, BertModel

    import_checkpoint(source, target)
    theirs = BertModel(BertConfig(**CONFIG, vocab_size=len(vocabulary()))).eval()
    theirs.load_state_dict(by_hand())
    imported = BertModel.from_pretrained(target).eval()
    ids = torch.randint(5, len(vocabulary()), (3, 17), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    types = (torch.arange(17) > 6).long().expand(3, 17)
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask, token_type_ids=types)
        got = imported(ids, attention_mask=mask, token_type_ids=types)
    for name in ("last_hidden_state", "pooler_output"):
        assert torch.allclose(got[name], expected[name], atol=1e-5), name
    ours = build(find_base(ModelSpec(base=str(target))), model_sizes([ModelSpec(base=str(target))])[0], 3).eval()
    with torch.no_grad():
        states = ours.states(torch.stack([ids, types], dim=-1), mask)
    real = mask.bool()
    assert torch.allclose(states[real], expected["last_hidden_state"][real], atol=1e-5)


def test_the_folder_is_a_base_model(source, target):
    made = import_checkpoint(source, target)
    assert left_in(target) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert left_in(target.parent) == ["tiny"]
    assert find_base(ModelSpec(base=str(target))).folder == target
    assert [size.layers for size in model_sizes([ModelSpec(base=str(target), layers=[1, 2])])] == [1, 2]
    assert (made.tensors, made.net.layers, len(made.plan.optimizer), len(made.plan.heads)) == (39, 2, 79, 7)
    config = json.loads((target / "config.json").read_text())
    assert (config["model_type"], config["pad_token_id"], config["hidden_dropout_prob"]) == ("bert", 0, 0.1)
    assert (target / "model.safetensors").stat().st_mode == (target / "config.json").stat().st_mode
    json.dumps(made.to_json())


@pytest.mark.parametrize("lower", [True, False])
def test_texts_are_read_as_told(source, target, lower):
    import_checkpoint(source, target, lower=lower)
    assert json.loads((target / "tokenizer_config.json").read_text())["do_lower_case"] is lower
    words = vocabulary()
    [ids] = TextTokenizer(target).encode(["The team"], 16)
    assert [words[number] for number in ids] == ["[CLS]", "the" if lower else "[UNK]", "team", "[SEP]"]


def test_the_default_target_is_named_after_the_folder(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert import_checkpoint("uncased_tiny").folder == Path("uncased_tiny-hf")
    monkeypatch.chdir(source)
    assert import_checkpoint(".").folder == Path("uncased_tiny-hf")


def test_an_earlier_import_is_replaced_only_when_told(source, target):
    import_checkpoint(source, target)
    before = (target / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="already exists"):
        import_checkpoint(source, target, lower=False)
    import_checkpoint(source, target, lower=False, replace=True)
    assert (target / "model.safetensors").read_bytes() == before
    assert json.loads((target / "tokenizer_config.json").read_text())["do_lower_case"] is False
    assert left_in(target.parent) == ["tiny"]


@pytest.mark.parametrize("name", ["notes.txt", None])
def test_a_folder_of_another_kind_is_never_replaced(source, target, name):
    target.mkdir(parents=True)
    (target / (name or "model.safetensors")).write_text("mine")
    with pytest.raises(InputError, match="an import did not write it"):
        import_checkpoint(source, target, replace=True)
    assert left_in(target) == [name or "model.safetensors"]


def test_the_source_is_never_the_target(source):
    for target in (source, source.parent):
        with pytest.raises(InputError, match="own folder, or above it"):
            import_checkpoint(source, target, replace=True)
    assert (source / "vocab.txt").is_file()


def test_an_empty_folder_is_filled(source, target):
    target.mkdir(parents=True)
    assert import_checkpoint(source, target).tensors == 39


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["_save", "_publish"])
@pytest.mark.parametrize("replace", [False, True])
def test_nothing_half_is_left(source, target, monkeypatch, failure, step, replace):
    if replace:
        import_checkpoint(source, target)

    def fail(*given: object, **named: object) -> None:
        raise failure

    monkeypatch.setattr(importing, step, fail)
    with pytest.raises((KeyboardInterrupt, StorageError)):
        import_checkpoint(source, target, replace=replace)
    assert left_in(target.parent) == (["tiny"] if replace else [])
    assert not replace or find_base(ModelSpec(base=str(target)))


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(source, target, monkeypatch):
    import_checkpoint(source, target)
    rename = Path.rename

    def fail(path: Path, to: Path) -> Path:
        if path.name == "base":
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint(source, target, replace=True)
    assert left_in(target.parent) == ["tiny"]
    assert (target / "model.safetensors").is_file()


def test_what_a_killed_import_left_is_swept(source, target):
    from lft_ray.system.scratch import LOCK

    dead = target.parent / ".lft-import-dead"
    dead.mkdir(parents=True)
    (dead / LOCK).touch()
    import_checkpoint(source, target)
    assert left_in(target.parent) == ["tiny"]


@pytest.mark.parametrize("name", ["vocab.txt", "bert_config.json", f"{PREFIX}.index", f"{PREFIX}.data-00001-of-00003"])
def test_a_missing_file_is_named(source, target, name):
    (source / name).unlink()
    with pytest.raises(ModelError, match=re.escape(name) if "index" not in name else "has no file"):
        import_checkpoint(source, target)
    assert not target.exists()


def test_a_flipped_byte_leaves_nothing(source, target):
    checkpoint = Checkpoint(source / f"{PREFIX}.index")
    entry = checkpoint.entries["bert/pooler/dense/kernel"]
    path = checkpoint.data_file(entry.shard)
    data = bytearray(path.read_bytes())
    data[entry.offset + 40] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="is damaged in tensor bert/pooler/dense/kernel"):
        import_checkpoint(source, target)
    assert left_in(target.parent) == []


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([*vocabulary(), "more"], "122 tokens, and the embedding table has 121 rows"),
        ([token for token in vocabulary() if token != "[SEP]"], r"has no '\[SEP\]'"),
    ],
)
def test_a_vocabulary_of_another_model_is_an_error(source, target, tokens, words):
    (source / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with pytest.raises(ModelError, match=words) as error:
        import_checkpoint(source, target)
    assert str(source / "vocab.txt") in error.value.message
    assert ".lft-import" not in str(error.value)


def test_rows_that_no_token_has_are_told(source, target):
    (source / "vocab.txt").write_text("\n".join(vocabulary()[:-3]) + "\n")
    assert "118 tokens, and the embedding table 121 rows" in import_checkpoint(source, target).notes[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": NaN}', ""])
def test_a_config_that_is_no_object_is_an_error(source, target, text):
    (source / "bert_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"bert_config\.json is not"):
        import_checkpoint(source, target)


def test_values_that_are_not_finite_are_an_error(source, target, monkeypatch):
    monkeypatch.setattr(Checkpoint, "read", lambda self, name: np.full(self.entries[name].shape, np.nan, "f4"))
    with pytest.raises(ModelError, match=r"tensor bert/embeddings/word_embeddings .* not finite"):
        import_checkpoint(source, target)
