"""The copies of bundles that replicas open: where they are, and bringing back what somebody removed.

In: the private folder of an endpoint, bundle URIs. Out: paths of copies. A replica that starts next month must find the
bundle that is served today, even if the run folder has changed since; and cleaners of /tmp remove what nobody opened
for some days. So the copies are in the user's state folder, and only if that cannot be written in the private folder.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lft_ray.run.storage import Storage

__all__ = ["BundleCopies", "remove_store", "store_of"]


def store_of(folder: Path) -> Path:
    """The folder of the copies of the endpoint with this private folder, in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME") or "/nonexistent") / ".local" / "state")
    return Path(state) / "lft_ray" / "serving" / folder.name


def remove_store(folder: Path) -> None:
    """Delete the copies of the endpoint with this private folder, and the parents that are empty then."""
    store = store_of(folder)
    shutil.rmtree(store, ignore_errors=True)
    with suppress(OSError):
        store.parent.rmdir()
        store.parent.parent.rmdir()


class BundleCopies:
    """Copies of bundles.

    Args:
        folder: private folder of the endpoint.
        sources: folder of a copy -> URI that it was copied from, of an earlier process.
    """

    def __init__(self, folder: Path, sources: dict[str, str] | None = None) -> None:
        self.sources = dict(sources or {})
        self._parent = _writable(store_of(folder)) or _writable(folder / "bundles")
        self._files: dict[str, dict[str, int]] = {copy: _sizes(Path(copy)) for copy in self.sources}
        self._told: dict[str, str] = {}

    def add(self, uri: str, *, serial: int) -> str:
        """Copy a bundle. Returns the path of the copy."""
        if self._parent is None:
            raise OSError("no folder can be written for the copies of bundles")
        self._parent.mkdir(parents=True, exist_ok=True)
        target = self._parent / str(serial)
        _copy(uri, target)
        self.sources[str(target)] = uri
        self._files[str(target)] = _sizes(target)
        return str(target)

    def keep_only(self, needed: set[str]) -> None:
        """Delete every copy that is not needed any more."""
        if self._parent is not None and self._parent.is_dir():
            for folder in self._parent.iterdir():
                if str(folder) not in needed:
                    shutil.rmtree(folder, ignore_errors=True)
                    self.sources.pop(str(folder), None)
                    self._files.pop(str(folder), None)

    def restore(self) -> list[str]:
        """Copy again what is no longer complete. Returns a line for the log about each such copy, once."""
        found = []
        for copy, files in self._files.items():
            if files and _sizes(Path(copy)) == files:
                continue
            source = self.sources[copy]
            try:
                _copy(source, Path(copy))
            except OSError as error:
                # FileNotFoundError of storage among them: the run has moved, or its bundle was replaced.
                line = f"files of the bundle copy {copy} are gone, and {source} cannot be read: {error}"
                if self._told.get(copy) != line:
                    found.append(line)
                self._told[copy] = line
                continue
            self._told.pop(copy, None)
            if files and (now := _sizes(Path(copy))) != files:
                self._files[copy] = now
                found.append(f"files of the bundle copy {copy} were gone; {source} holds another bundle by now")
            else:
                self._files[copy] = _sizes(Path(copy))
                found.append(f"files of the bundle copy {copy} were gone and have been copied again")
        return found


def _copy(uri: str, target: Path) -> None:
    """Copy a bundle into ``target``; a replica never sees a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="new-", dir=target.parent))
    try:
        with Storage(uri).local_copy() as source:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file below a folder, by its relative path."""
    if not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None
