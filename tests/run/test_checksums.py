import pytest

from lft_ray.errors import DamagedFileError, LftWarning
from lft_ray.run.checksums import (
    check_bytes,
    check_file,
    check_folder,
    check_path,
    file_sha256,
    is_sealed,
    seal,
    sha256s,
)
from lft_ray.run.storage import Storage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"weights")
    (tmp_path / "sub" / "b").write_bytes(b"tokens")
    return tmp_path


def test_a_folder_that_is_as_it_was_written_passes(folder):
    check_folder(str(folder), sha256s(folder))
    check_folder(str(folder), {})  # of a version without checksums


def change(folder):
    (folder / "sub" / "b").write_bytes(b"tokenz")


def remove(folder):
    (folder / "a").unlink()


def add(folder):
    (folder / "extra").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "named"), [(change, "sub/b was changed"), (remove, "a is missing"), (add, "extra is not")]
)
def test_a_folder_that_is_not_is_named_with_the_file(folder, damage, named):
    expected = sha256s(folder)
    damage(folder)
    with pytest.raises(DamagedFileError, match=named) as raised:
        check_folder(str(folder), expected)
    assert raised.value.fix


def test_found_and_expected_are_said(folder):
    expected, found = "0" * 64, file_sha256(folder / "a")
    for check in (
        lambda: check_file(Storage(folder), "a", expected),
        lambda: check_path(folder / "a", expected),
        lambda: check_bytes(b"weights", expected, "a"),
    ):
        with pytest.raises(DamagedFileError, match=f"its sha256 is {found}, its record says {expected}"):
            check()


def test_a_file_is_read_again_once_it_changes(folder):
    path = folder / "a"
    expected = file_sha256(path)
    check_path(path, expected)
    path.write_bytes(b"weighty!")
    with pytest.raises(DamagedFileError):
        check_path(path, expected)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DamagedFileError, match="gone is missing"):
        check_folder(str(tmp_path / "gone"), {"a": "0" * 64})


def test_a_sealed_file_that_changes_is_made_again(folder):
    path = folder / "a"
    assert is_sealed(path)  # without a checksum
    seal(path)
    assert is_sealed(path)
    path.write_bytes(b"weighty!")
    with pytest.warns(LftWarning, match="was changed after it was written"):
        assert not is_sealed(path)
