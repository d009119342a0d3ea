"""Conversion of .bin weights, once, into the cache."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lft_ray.errors import ModelError
from lft_ray.models.convert import converted


@pytest.fixture
def old(tiny_bert, tmp_path, monkeypatch) -> Path:
    """A base with .bin weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "old"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_converted_returns_a_complete_folder_unchanged(tiny_bert):
    assert converted(tiny_bert, allow_bin=False) == tiny_bert


def test_converted_writes_equal_weights_once(old, tiny_bert):
    target = converted(old, allow_bin=True)
    ours, original = load_file(target / "model.safetensors"), load_file(tiny_bert / "model.safetensors")
    assert ours.keys() == original.keys()
    assert all(torch.equal(ours[name], original[name]) for name in ours)
    time = (target / "model.safetensors").stat().st_mtime_ns
    assert converted(old, allow_bin=True) == target
    assert (target / "model.safetensors").stat().st_mtime_ns == time


def test_converted_leaves_nothing_behind_after_a_damaged_pickle(old, tmp_path):
    (old / "pytorch_model.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged or cannot be read without running code"):
        converted(old, allow_bin=True)
    assert list((tmp_path / "cache" / "lft_ray" / "models").iterdir()) == []
