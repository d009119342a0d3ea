"""Storage of a run, on this machine or in a bucket, through ``pyarrow.fs``. Writes are atomic.

In: a URI (``runs/news``, ``/mnt/x``, ``s3://bucket/x``). Out: bytes of its files. A local write goes to a temporary
file, which is synced and renamed, and then the folder is synced; object stores write whole objects, which is atomic.
Never unpickles anything.
"""

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from lft_ray.errors import ConfigError, InputError, RunGoneError, StorageError
from lft_ray.system.paths import is_uri, joined, resolve

__all__ = ["Storage"]

_PIECE_BYTES = 8 << 20
Found = TypeVar("Found")
KEPT = ("driver.lock", ".driver.lock.guard", ".export.guard")
"""Files of the locks of a run folder: deleting one would let two processes hold the same lock."""


class Storage:
    """A folder, local or in a bucket, from which files are read and to which they are written.

    Args:
        uri: folder path or URI; ``file://`` is treated as a local path.
        within: local folder that must exist at every write, such as the run folder of a running study: one that was
            removed or unmounted is never made anew by half. Handed down to `child`.

    Raises:
        ConfigError: the scheme is unknown to ``pyarrow.fs``.
    """

    def __init__(self, uri: str | Path, *, within: str = "") -> None:
        text = str(uri).removeprefix("file://")
        self.is_local = not is_uri(text)
        self.uri = str(resolve(text).resolve()) if self.is_local else text.rstrip("/")
        self.within = within if self.is_local else ""

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    def child(self, *parts: str) -> "Storage":
        """Return the storage of a folder below this one."""
        return Storage(joined(self.uri, parts), within=self.within)

    def must_exist(self) -> None:
        """Refuse to write from now on once this folder is gone."""
        self.within = self.uri if self.is_local else ""

    def check_exists(self) -> None:
        """Check that the folder given by ``within`` is still there.

        Raises:
            RunGoneError: it was removed or unmounted.
        """
        if self.within and not Path(self.within).is_dir():
            raise RunGoneError(
                f"the run folder {self.within} is gone: it was removed, or its disk was unmounted",
                fix="bring it back and continue with --resume, or start again",
            )

    def uri_of(self, name: str) -> str:
        """Return the full URI of a file or folder in this folder."""
        return joined(self.uri, [name])

    def put(self, name: str, data: bytes | str) -> str:
        """Write a file atomically, replacing an existing one. Returns its URI."""
        payload = data.encode("utf-8") if isinstance(data, str) else data
        if self.is_local:
            self.check_exists()
            _put_local(Path(self.uri) / name, payload)
        else:
            filesystem, root = self._remote()
            with filesystem.open_output_stream(f"{root}/{name}") as stream:
                stream.write(payload)
        return self.uri_of(name)

    def get(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if self.is_local:
            path = Path(self.uri) / name
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a pipe or a terminal would wait for ever
                raise OSError(errno.EINVAL, "Not a regular file", str(path))
            return path.read_bytes()
        filesystem, root = self._remote()
        with filesystem.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder exists in this folder, or without a name, this folder itself.

        Raises:
            StorageError: a folder above it may not be read.
        """
        if self.is_local:
            return _looked_up((Path(self.uri) / name).exists, missing=False)
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        return bool(filesystem.get_file_info(f"{root}/{name}".rstrip("/")).type != pafs.FileType.NotFound)

    def folders(self, name: str = "") -> list[str]:
        """Names of the direct subfolders, sorted.

        Raises:
            StorageError: the folder may not be read.
        """
        if self.is_local:
            path = Path(self.uri) / name
            names: list[str] = []
            return _looked_up(
                lambda: sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else [], missing=names
            )
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        selector = pafs.FileSelector(f"{root}/{name}".rstrip("/"), allow_not_found=True)
        return sorted(i.base_name for i in filesystem.get_file_info(selector) if i.type == pafs.FileType.Directory)

    def put_folder(self, name: str, source: Path) -> str:
        """Copy a local folder to ``name``; atomic if the storage is local. Returns its URI."""
        if self.is_local:
            self.check_exists()
            _put_local_folder(Path(self.uri) / name, source)
        else:
            for path in _files(source):
                self.put(f"{name}/{path.relative_to(source).as_posix()}", path.read_bytes())
        return self.uri_of(name)

    def local_folder(self, name: str, cache: Path | None = None) -> Path:
        """Return a local path of folder ``name``: the folder itself, or a downloaded copy.

        Args:
            name: folder in this folder.
            cache: parent of the copy; None: the system's temporary folder.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        if self.is_local:
            path = Path(self.uri) / name
            if not path.is_dir():
                raise FileNotFoundError(path)
            return path
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        base = f"{root}/{name}".rstrip("/")
        infos = filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        files = [i for i in infos if i.type == pafs.FileType.File]
        if not files:
            raise FileNotFoundError(self.uri_of(name))
        target = Path(tempfile.mkdtemp(prefix="lft-", dir=cache))
        for info in files:
            path = target / info.path[len(base) + 1 :]
            path.parent.mkdir(parents=True, exist_ok=True)
            with filesystem.open_input_stream(info.path) as stream:
                path.write_bytes(stream.read())
        return target

    @contextmanager
    def local_copy(self, name: str = "") -> Iterator[Path]:
        """Return a local path of folder ``name`` for the block; the copy of a bucket's folder is deleted after it.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        if self.is_local:
            yield self.local_folder(name)
            return
        with tempfile.TemporaryDirectory(prefix="lft-copy-", ignore_cleanup_errors=True) as cache:
            yield self.local_folder(name, Path(cache))

    def sha256(self, name: str) -> str:
        """Hash a file in pieces, so that its size does not matter.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if self.is_local:
            with (Path(self.uri) / name).open("rb") as local:
                return hashlib.file_digest(local, "sha256").hexdigest()
        filesystem, root = self._remote()
        digest = hashlib.sha256()
        with filesystem.open_input_stream(f"{root}/{name}") as stream:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def files(self, name: str = "") -> list[str]:
        """Paths of all files below folder ``name``, relative to it, sorted."""
        if self.is_local:
            folder = Path(self.uri) / name
            return [path.relative_to(folder).as_posix() for path in _files(folder)] if folder.is_dir() else []
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        base = f"{root}/{name}".rstrip("/")
        found = filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        return sorted(info.path[len(base) + 1 :] for info in found if info.type == pafs.FileType.File)

    def delete_folder(self, name: str = "") -> None:
        """Delete a folder in this folder (or this one) with its content, if it exists."""
        if self.is_local:
            with suppress(FileNotFoundError):
                shutil.rmtree(Path(self.uri) / name)
        elif self.exists(name):
            filesystem, root = self._remote()
            filesystem.delete_dir(f"{root}/{name}".rstrip("/"))

    def bytes(self, name: str = "") -> int:
        """Size of all files below folder ``name``."""
        if self.is_local:
            return sum(path.stat().st_size for path in _files(Path(self.uri) / name))
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        selector = pafs.FileSelector(f"{root}/{name}".rstrip("/"), recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in filesystem.get_file_info(selector) if info.type == pafs.FileType.File)

    def clear(self) -> None:
        """Delete the content of this folder, but not what its lock consists of, or a run put aside in it."""
        if self.is_local:
            for path in Path(self.uri).iterdir():
                if path.name in KEPT or path.name.startswith(".replaced-"):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            return
        for name in self.files():
            if name not in KEPT:
                self.delete_file(name)

    def delete_if_unused(self) -> None:
        """Delete this folder if nothing but the files of its lock is in it."""
        folder = Path(self.uri)
        if self.is_local and folder.is_dir() and not {path.name for path in folder.iterdir()} - set(KEPT):
            shutil.rmtree(folder, ignore_errors=True)

    def delete_file(self, name: str) -> None:
        """Delete a file in this folder, if it exists."""
        if self.is_local:
            (Path(self.uri) / name).unlink(missing_ok=True)
        elif self.exists(name):
            filesystem, root = self._remote()
            filesystem.delete_file(f"{root}/{name}")

    def check_writable(self) -> None:
        """Check write access by writing and deleting a small file.

        Raises:
            InputError: the write failed; the message has the reason.
        """
        probe = f".write-test-{uuid.uuid4().hex[:8]}"
        try:
            self.put(probe, b"")
            if self.is_local:
                (Path(self.uri) / probe).unlink()
            else:
                filesystem, root = self._remote()
                filesystem.delete_file(f"{root}/{probe}")
        except OSError as error:
            raise InputError(
                f"cannot write to storage {self.uri}: {error}", fix="choose another one with --set storage=..."
            ) from error

    def _remote(self) -> "tuple[Any, str]":
        import pyarrow.fs as pafs

        try:
            filesystem, path = pafs.FileSystem.from_uri(self.uri)
        except Exception as error:  # pyarrow raises various types for an unknown scheme or bad options
            raise ConfigError(f"cannot open storage {self.uri}: {error}", fix="use a folder, s3:// or gs://") from error
        if not path.strip("/"):
            raise ConfigError(f"{self.uri} names no bucket", fix="name bucket and folder, such as s3://bucket/runs")
        return filesystem, path


def _looked_up(look: Callable[[], Found], *, missing: Found) -> Found:
    """What ``look`` finds; ``missing`` for a path that the system cannot have, such as one that is too long.

    Raises:
        StorageError: a folder may not be read.
    """
    try:
        return look()
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return missing
        raise StorageError(
            f"{error.filename} cannot be read: {error.strerror or error}", fix="give this user access to it"
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_local(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _put_local_folder(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        _fill_folder(temporary, source)
    except BaseException:
        # Half a copy would keep a full disk full.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if os.path.lexists(target):
        # A folder cannot be renamed onto a non-empty one: rename the old one first, and delete it afterwards.
        aside = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        temporary.rename(target)
        # A link to a folder elsewhere is replaced, and what it leads to is left alone.
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    else:
        temporary.rename(target)
    _sync_folder(target.parent)


def _fill_folder(temporary: Path, source: Path) -> None:
    shutil.copytree(source, temporary)
    mask = os.umask(0)
    os.umask(mask)
    # Folders from tempfile have modes 0700 and 0600: give the files of a run the modes of the umask instead.
    for folder in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
        folder.chmod(0o777 & ~mask)
    for path in _files(temporary):
        path.chmod(0o666 & ~mask)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
