import shutil
from pathlib import Path

import pytest

from lft_ray.serve.endpoint.bundle_copies import BundleCopies, remove_store, store_of


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_text("weights")
    (folder / "sub" / "labels.json").write_text("[]")
    return folder


@pytest.fixture
def private(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "lft-abc"
    folder.mkdir()
    return folder


def test_copies_are_in_the_state_folder_and_not_where_cleaners_of_tmp_look(private, source, tmp_path):
    copy = Path(BundleCopies(private).add(str(source), serial=0))
    assert copy == tmp_path / "state" / "lft_ray" / "serving" / "lft-abc" / "0"
    assert sorted(p.name for p in copy.rglob("*.*")) == ["labels.json", "model.onnx"]
    assert [p.name for p in copy.parent.iterdir()] == ["0"]
    remove_store(private)
    assert not (tmp_path / "state" / "lft_ray").exists()
    assert (tmp_path / "state").exists()


def test_copies_are_in_the_private_folder_where_the_state_folder_cannot_be_written(private, source, monkeypatch):
    (private / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(private / "file"))
    assert Path(BundleCopies(private).add(str(source), serial=3)) == private / "bundles" / "3"


@pytest.mark.parametrize("damage", ["file", "folder", "store", "truncated"])
def test_what_a_cleaner_removed_is_copied_again(private, source, damage):
    copies = BundleCopies(private)
    copy = Path(copies.add(str(source), serial=0))
    assert copies.restore() == []
    if damage == "truncated":
        (copy / "model.onnx").write_text("")
    else:
        {
            "file": lambda: (copy / "model.onnx").unlink(),
            "folder": lambda: shutil.rmtree(copy),
            "store": lambda: shutil.rmtree(store_of(private)),
        }[damage]()
    (line,) = copies.restore()
    assert "copied again" in line
    assert (copy / "model.onnx").read_text() == "weights"
    assert copies.restore() == []


def test_a_source_that_is_gone_or_another_is_said(private, source):
    copies = BundleCopies(private)
    copy = Path(copies.add(str(source), serial=0))
    shutil.rmtree(copy)
    (source / "model.onnx").write_text("a longer model")
    assert "another bundle by now" in copies.restore()[0]
    shutil.rmtree(copy)
    shutil.rmtree(source)
    assert "cannot be read" in copies.restore()[0]
    assert copies.restore() == [], "every two seconds, for as long as it lasts"
    source.mkdir()
    (source / "model.onnx").write_text("a longer model")
    assert "another bundle by now" in copies.restore()[0]
    shutil.rmtree(copy)
    shutil.rmtree(source)
    assert "cannot be read" in copies.restore()[0]


def test_a_successor_restores_what_its_predecessor_copied(private, source):
    first = BundleCopies(private)
    copy = Path(first.add(str(source), serial=0))
    shutil.rmtree(copy)
    second = BundleCopies(private, first.sources)
    assert "copied again" in second.restore()[0]
    assert second.restore() == []
    second.keep_only(set())
    assert not copy.exists()
    assert second.restore() == []
