"""Seal a folder and check the seal: ``manifest.json`` with the sha256 and size of every other file.

In: a folder. Out: a version, the first 12 hex digits of the manifest's own sha256. Never opens a model.
"""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from lft_ray.errors import BundleError
from lft_ray.records import Record

__all__ = ["MANIFEST", "check_seal", "seal"]

MANIFEST = "manifest.json"
FORMAT = 1
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".py", ".so")
"""Files that could run code when they are opened. No engine of ours writes or reads one."""


class FileSeal(Record):
    """One sealed file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Record):
    """``manifest.json``."""

    format: Literal[1]
    files: dict[str, FileSeal]


def seal(folder: Path) -> str:
    """Write the manifest of a folder. Returns the version.

    Raises:
        BundleError: the folder holds a link or a file that could run code.
    """
    files = {name: _seal_of(folder / name) for name in _listed(folder) if name != MANIFEST}
    _refuse_names(folder, list(files))
    content = json.dumps(
        {"format": FORMAT, "files": {name: files[name].model_dump() for name in sorted(files)}}, indent=1
    )
    payload = (content + "\n").encode()
    (folder / MANIFEST).write_bytes(payload)
    return _version(payload)


def check_seal(folder: Path) -> tuple[str, int]:
    """Check every file of a folder against its manifest.

    Returns:
        The version and the bytes of all sealed files.

    Raises:
        BundleError: there is no manifest, it is of another format, or a file is missing, extra, a link or changed.
    """
    manifest, payload = _read(folder)
    _refuse_names(folder, list(manifest.files))
    present = {name for name in _listed(folder) if name != MANIFEST}
    missing, extra = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    if missing or extra:
        raise BundleError(f"bundle {folder} is not as it was sealed: missing {missing}, extra {extra}", fix=_FIX)
    for name, expected in manifest.files.items():
        if _seal_of(folder / name) != expected:
            raise BundleError(f"bundle {folder}: {name} was changed after it was sealed", fix=_FIX)
    return _version(payload), sum(file.bytes for file in manifest.files.values())


_FIX = "export the bundle again, or copy it again from where it is whole"


def _read(folder: Path) -> tuple[Manifest, bytes]:
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}", fix="give the folder that lft export made")
    payload = path.read_bytes()
    try:
        raw = json.loads(payload)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}", fix=_FIX) from error
    known = raw.get("format") if isinstance(raw, dict) else None
    if known != FORMAT:
        raise BundleError(
            f"bundle {folder} is of format {known!r}; this version reads {FORMAT}",
            fix="export it again with this version",
        )
    try:
        return Manifest.model_validate(raw), payload
    except ValidationError as error:
        raise BundleError(f"{path} is damaged: {error}", fix=_FIX) from error


def _listed(folder: Path) -> list[str]:
    """Relative names of all files below, POSIX style. Links are refused, also links to folders."""
    names = []
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(root) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(f"bundle {folder} holds a link or a special file: {path.relative_to(folder)}")
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(names)


def _refuse_names(folder: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
            raise BundleError(f"bundle {folder} names a file outside itself: {name!r}")
        if path.suffix.lower() in _PICKLES:
            raise BundleError(f"bundle {folder} holds {name!r}, a kind of file that can run code when opened")


def _seal_of(path: Path) -> FileSeal:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileSeal(sha256=digest, bytes=stream.tell())


def _version(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:12]
