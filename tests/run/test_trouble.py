import errno
import os

import pytest

from lft_ray.errors import InputError, StorageError
from lft_ray.run.trouble import naming_storage_errors


def fail(error: Exception, uri: str = "run", needed_bytes: int | None = None) -> None:
    with naming_storage_errors(uri, needed_bytes=needed_bytes):
        raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_trouble_of_a_disk_is_named_with_path_and_fix(tmp_path, number):
    path = tmp_path / "bundle" / "model.onnx"
    with pytest.raises(StorageError, match=f"cannot write {path}: {os.strerror(number)}") as raised:
        fail(OSError(number, os.strerror(number), str(path)))
    assert raised.value.exit_code == 2
    assert raised.value.fix


def test_a_full_disk_says_what_is_needed_and_free(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
    with pytest.raises(StorageError, match=r"about 30\.0 MB are needed, [\d,.]+ MB are free"):
        fail(error, needed_bytes=30_000_000)


def test_libraries_with_errors_of_their_own_are_understood(tmp_path):
    with pytest.raises(StorageError, match="No space left on device"):
        fail(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), str(tmp_path))


@pytest.mark.parametrize("error", [InputError("bad"), FileNotFoundError(errno.ENOENT, "no", "x"), ValueError("x")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised:
        fail(error)
    assert raised.value is error


def test_too_many_open_files_are_not_called_a_failing_disk():
    with pytest.raises(StorageError, match="Too many open files") as raised:
        fail(OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"))
    assert "ulimit -n" in raised.value.fix


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOTDIR, errno.EEXIST])
def test_what_lies_in_the_place_of_a_file_is_named(number):
    with pytest.raises(StorageError, match=f"cannot write report.html: {os.strerror(number)}") as raised:
        fail(OSError(number, os.strerror(number), ".report.html.1234", None, "report.html"))
    assert "move away" in raised.value.fix
