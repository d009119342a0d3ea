"""Storage of a run, on this machine or in a bucket, through ``pyarrow.fs``. Writes are atomic.

In: a URI (``runs/news``, ``/mnt/x``, ``s3://bucket/x``). Out: bytes of its files. A local write goes to a temporary
file, which is synced and renamed, and then the folder is synced; object stores write whole objects, which is atomic.
Never unpickles anything.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lft_ray.errors import ConfigError, InputError
from lft_ray.system.paths import is_uri, joined, resolve

__all__ = ["Storage"]


class Storage:
    """A folder, local or in a bucket, from which files are read and to which they are written.

    Args:
        uri: folder path or URI; ``file://`` is treated as a local path.

    Raises:
        ConfigError: the scheme is unknown to ``pyarrow.fs``.
    """

    def __init__(self, uri: str | Path) -> None:
        text = str(uri).removeprefix("file://")
        self.is_local = not is_uri(text)
        self.uri = str(resolve(text).resolve()) if self.is_local else text.rstrip("/")

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    def child(self, *parts: str) -> "Storage":
        """Return the storage of a folder below this one."""
        return Storage(joined(self.uri, parts))

    def uri_of(self, name: str) -> str:
        """Return the full URI of a file or folder in this folder."""
        return joined(self.uri, [name])

    def put(self, name: str, data: bytes | str) -> str:
        """Write a file atomically, replacing an existing one. Returns its URI."""
        payload = data.encode("utf-8") if isinstance(data, str) else data
        if self.is_local:
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
            return (Path(self.uri) / name).read_bytes()
        filesystem, root = self._remote()
        with filesystem.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder exists in this folder, or without a name, this folder itself."""
        if self.is_local:
            return (Path(self.uri) / name).exists()
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        return bool(filesystem.get_file_info(f"{root}/{name}".rstrip("/")).type != pafs.FileType.NotFound)

    def folders(self, name: str = "") -> list[str]:
        """Names of the direct subfolders, sorted."""
        if self.is_local:
            path = Path(self.uri) / name
            return sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
        import pyarrow.fs as pafs

        filesystem, root = self._remote()
        selector = pafs.FileSelector(f"{root}/{name}".rstrip("/"), allow_not_found=True)
        return sorted(i.base_name for i in filesystem.get_file_info(selector) if i.type == pafs.FileType.Directory)

    def put_folder(self, name: str, source: Path) -> str:
        """Copy a local folder to ``name``; atomic if the storage is local. Returns its URI."""
        if self.is_local:
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

    def delete_folder(self, name: str = "") -> None:
        """Delete a folder in this folder (or this one) with its content, if it exists."""
        if self.is_local:
            with suppress(FileNotFoundError):
                shutil.rmtree(Path(self.uri) / name)
        elif self.exists(name):
            filesystem, root = self._remote()
            filesystem.delete_dir(f"{root}/{name}".rstrip("/"))

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
        return filesystem, path


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
    if target.exists():
        # A folder cannot be renamed onto a non-empty one: rename the old one first, and delete it afterwards.
        aside = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        temporary.rename(target)
        shutil.rmtree(aside)
    else:
        temporary.rename(target)
    _sync_folder(target.parent)
