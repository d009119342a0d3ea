import errno
import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from lft_ray.errors import ConfigError, InputError, StorageError
from lft_ray.run.storage import Storage


def test_put_get_and_list(tmp_path):
    storage = Storage(tmp_path / "run")
    uri = storage.put("trials/t000/record.json", "{}")
    assert Path(uri).read_bytes() == b"{}" == storage.get("trials/t000/record.json")
    assert storage.folders("trials") == ["t000"]
    assert storage.exists("trials")
    assert not storage.exists("nothing")


def test_a_reader_never_sees_half_a_file(tmp_path):
    storage = Storage(tmp_path)
    payloads = {bytes([65 + i]) * 200_000 for i in range(4)}
    storage.put("x", next(iter(payloads)))
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for payload in payloads:
                storage.put("x", payload)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert all(storage.get("x") in payloads for _ in range(200))
    finally:
        stop.set()
        thread.join()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    storage = Storage(tmp_path)
    storage.put("x", "old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.put("x", "new")
    assert storage.get("x") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_put_folder_replaces_as_a_whole(tmp_path):
    storage = Storage(tmp_path / "run")
    for generation in ("one", "two"):
        source = tmp_path / generation
        (source / "deep").mkdir(parents=True)
        (source / f"{generation}.txt").write_text(generation)
        (source / "deep" / "x").write_text(generation)
        storage.put_folder("bundle", source)
    assert sorted(p.name for p in (tmp_path / "run" / "bundle").iterdir()) == ["deep", "two.txt"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["bundle"]


def test_a_store_behind_a_uri_works_like_a_folder(tmp_path):
    local, remote = tmp_path / "plain", Storage(f"file://{tmp_path}/plain")
    assert remote.is_local
    assert remote.uri == str(local)


def test_unknown_scheme_is_named():
    with pytest.raises(ConfigError, match="cannot open storage"):
        Storage("nope://bucket/x").get("y")


def test_unwritable_storage_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to storage"):
        Storage(tmp_path / "file" / "run").check_writable()


def test_put_folder_is_as_open_as_the_umask_says(tmp_path):
    source = tmp_path / "private"
    source.mkdir(mode=0o700)
    (source / "x").touch(mode=0o600)
    Storage(tmp_path / "run").put_folder("bundle", source)
    mask = os.umask(0)
    os.umask(mask)
    target = tmp_path / "run" / "bundle"
    assert (target.stat().st_mode & 0o777, (target / "x").stat().st_mode & 0o777) == (0o777 & ~mask, 0o666 & ~mask)


@pytest.fixture(params=["local", "bucket"])
def either(request, tmp_path, monkeypatch) -> Storage:
    """A folder, and the same folder as if it were a bucket."""
    storage = Storage(tmp_path / "run")
    if request.param == "bucket":
        storage.is_local = False
        monkeypatch.setattr(storage, "_remote", lambda: (pafs.LocalFileSystem(), str(tmp_path / "run")))
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "a").write_bytes(b"weights")
    (tmp_path / "run" / "driver.lock").write_bytes(b"{}")
    return storage


def test_what_a_folder_contains(either):
    assert either.files("model") == ["a"]
    assert either.files() == ["driver.lock", "model/a"]
    assert either.files("nothing") == []
    assert (either.bytes("model"), either.bytes()) == (7, 9)
    assert either.sha256("model/a") == hashlib.sha256(b"weights").hexdigest()


def test_a_copy_of_a_bucket_is_deleted_after_use(either, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with either.local_copy("model") as folder:
        assert (folder / "a").read_bytes() == b"weights"
        assert (folder == tmp_path / "run" / "model") == either.is_local
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(FileNotFoundError), either.local_copy("nothing"):
        pass


def test_a_folder_is_cleared_but_for_its_locks(either):
    either.clear()
    assert either.files() == ["driver.lock"]


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"weights")

    def full(source, target):
        Path(target).mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space"):
        Storage(tmp_path / "run").put_folder("bundle", tmp_path / "source")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(OSError, match="Not a regular file"):
        Storage(tmp_path).get("record.json")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    for look in (lambda: Storage(tmp_path).exists("record.json"), lambda: Storage(tmp_path).folders()):
        with pytest.raises(StorageError, match=f"{tmp_path}.* cannot be read: Permission denied"):
            look()


def test_a_path_that_cannot_be_is_not_there(tmp_path):
    assert not Storage(tmp_path).exists("x" * 5000)
    assert Storage(tmp_path).folders("x" * 5000) == []


def test_a_uri_without_a_bucket_is_named():
    with pytest.raises(ConfigError, match="names no bucket"):
        Storage("s3://").exists("experiment.yaml")


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_a_folder_takes_the_place_of_a_file_or_a_link_and_nothing_behind_it_is_touched(tmp_path, kind):
    source, elsewhere, run = tmp_path / "source", tmp_path / "elsewhere", tmp_path / "run"
    for folder in (source, elsewhere, run):
        folder.mkdir()
        (folder / "kept").write_text(folder.name)
    target = run / "bundle"
    if kind == "file":
        target.write_text("x")
    else:
        target.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    Storage(run).put_folder("bundle", source)
    assert (target / "kept").read_text() == "source"
    assert (elsewhere / "kept").read_text() == "elsewhere"
    assert sorted(path.name for path in run.iterdir()) == ["bundle", "kept"]
