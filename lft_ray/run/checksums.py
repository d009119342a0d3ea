"""Checksums of what a run wrote: made when a file is written, checked when its content decides something.

In: files of a run, the sha256 that its record states. Out: nothing, or an error that names the file. Files whose record
states none (runs of 0.2.0 and earlier) are not checked. Files are read in pieces, so their size does not matter.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lft_ray.errors import DamagedFileError, LftWarning
from lft_ray.run.storage import Storage

__all__ = [
    "Stored", "StoredFolder", "check_bytes", "check_file", "check_folder", "check_path", "file_sha256", "is_sealed",
    "seal", "sha256s",
]  # fmt: skip

RESTORE = "restore it from a backup; a trial whose folder is moved out of trials/ is trained again by `--resume`"
_checked: dict[str, tuple[int, int, int]] = {}
"""Path -> inode, size and time of change of a local file that matched: a process checks it once."""


class Stored(NamedTuple):
    """A file that was written.

    Attributes:
        uri: where.
        sha256: of its content.
    """

    uri: str
    sha256: str


class StoredFolder(NamedTuple):
    """A folder that was written.

    Attributes:
        uri: where.
        sha256s: path in the folder -> sha256 of that file.
    """

    uri: str
    sha256s: dict[str, str]


def file_sha256(path: Path) -> str:
    """Hash a local file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256s(folder: Path) -> dict[str, str]:
    """Hash every file of a local folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def check_bytes(data: bytes, expected: str, name: str) -> None:
    """Compare bytes that were read from ``name``; nothing is expected of an empty checksum.

    Raises:
        DamagedFileError: they are not what was written.
    """
    if expected:
        _compare(hashlib.sha256(data).hexdigest(), expected, name)


def check_path(path: Path, expected: str, *, fix: str = RESTORE) -> None:
    """Compare a local file, once per process as long as it does not change.

    Raises:
        DamagedFileError: it is not what was written.
        OSError: it cannot be read.
    """
    if not expected:
        return
    status = path.stat()
    seen = (status.st_ino, status.st_size, status.st_mtime_ns)
    key = f"{path} {expected}"
    if _checked.get(key) != seen:
        _compare(file_sha256(path), expected, str(path), fix=fix)
        _checked[key] = seen


def check_file(storage: Storage, name: str, expected: str) -> None:
    """Compare a stored file.

    Raises:
        DamagedFileError: it is missing, or not what was written.
    """
    try:
        if storage.is_local:
            check_path(Path(storage.uri) / name, expected)
        elif expected:
            _compare(storage.sha256(name), expected, storage.uri_of(name))
    except FileNotFoundError:
        raise DamagedFileError(f"{storage.uri_of(name)} is missing, its record names it", fix=RESTORE) from None
    except OSError as error:
        raise DamagedFileError(f"{storage.uri_of(name)} cannot be read: {error}", fix=RESTORE) from error


def check_folder(uri: str, expected: Mapping[str, str]) -> None:
    """Compare a stored folder, such as a checkpoint: every listed file, and no other.

    Raises:
        DamagedFileError: a file is missing, was added, or is not what was written.
    """
    folder = Storage(uri)
    if not folder.exists():
        raise DamagedFileError(f"{uri} is missing, its record names it", fix=RESTORE)
    if not expected:
        return
    extra = sorted(set(folder.files()) - expected.keys())
    if extra:
        raise DamagedFileError(f"{folder.uri_of(extra[0])} is not a file that the trial wrote", fix="remove it")
    for name, digest in expected.items():
        check_file(folder, name, digest)


def seal(path: Path) -> None:
    """Write the checksum of a file that no record names, such as a token file, beside it (as ``sha256sum`` does)."""
    _seal_of(path).write_text(f"{file_sha256(path)}  {path.name}\n", encoding="utf-8")


def is_sealed(path: Path) -> bool:
    """Whether a file is the one that was sealed; True without a checksum. It can be made again, so this is no error.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        expected = _seal_of(path).read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    except FileNotFoundError:
        return True
    try:
        check_path(path, expected)
    except DamagedFileError:
        warnings.warn(LftWarning(f"{path} was changed after it was written, and is made again"), stacklevel=2)
        return False
    return True


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _compare(found: str, expected: str, name: str, *, fix: str = RESTORE) -> None:
    if found != expected:
        raise DamagedFileError(
            f"{name} was changed after it was written: its sha256 is {found}, its record says {expected}", fix=fix
        )
