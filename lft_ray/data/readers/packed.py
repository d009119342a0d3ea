"""Open a file for reading, packed (.gz, .bz2, .zst, a .zip of one file) or not. In: a path. Out: its bytes.

What a file is, its first bytes decide, not its name. `check_packed` reads a packed file to its end once, keeping
nothing, and refuses one that unpacks to too much before any reader holds a row of it. Never writes to disk, never
unpacks an archive within an archive.
"""

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

__all__ = ["MAX_BYTES", "MAX_RATIO", "PackedError", "check_packed", "inner_name", "open_binary", "packed_kind"]

MAX_BYTES = 8 << 30
"""Bytes that a packed file may unpack to: the rows of a data set are held in memory, so more could not be used."""
MAX_RATIO = 200
"""Bytes out per byte in, above `FREE_BYTES`. Text shrinks to a third to a twentieth, rows that repeat to a hundredth;
a gigabyte of zeros to a thousandth, and with zstd to a ten-thousandth."""
FREE_BYTES = 64 << 20
"""Bytes that any packed file may unpack to, whatever the ratio."""
_CHUNK = 1 << 20
_KINDS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_SUFFIXES = {".gz", ".gzip", ".bz2", ".zst", ".zstd", ".zip"}
_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")
"""Members of a zip archive that an operating system adds."""
_DAMAGED = (EOFError, OSError, zlib.error, zipfile.BadZipFile, pa.ArrowException, RuntimeError)
"""RuntimeError: what zipfile raises for a password, and its subclass for a compression that it lacks."""


class PackedError(Exception):
    """A packed file cannot be read; ``fix`` says what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def packed_kind(path: Path) -> str:
    """Return gzip, bzip2, zstd or zip; empty for a file that is not packed."""
    with path.open("rb") as stream:
        head = stream.read(4)
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), "")


def inner_name(path: Path) -> Path:
    """The name of what is inside: of the member of a zip archive, else without the suffix of the packing.

    Raises:
        PackedError: a zip archive does not hold exactly one file.
    """
    kind = packed_kind(path)
    if kind == "zip":
        with _damage_named(path), zipfile.ZipFile(path) as archive:
            return Path(_member(archive, path).filename)
    return path.with_suffix("") if kind and path.suffix.lower() in _SUFFIXES else path


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading from its start, unpacked.

    Raises:
        PackedError: it is damaged, encrypted, or a zip archive that does not hold exactly one file.
    """
    kind = packed_kind(path)
    if not kind:
        with path.open("rb") as stream:
            yield stream
        return
    with _damage_named(path):
        if kind == "zip":
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as member:
                yield cast("BinaryIO", member)
        elif kind == "zstd":
            with pa.input_stream(str(path), compression="zstd") as unpacked:
                # Arrow's stream ends in the middle of a truncated file without an error of its own type.
                yield io.BufferedReader(cast("io.RawIOBase", unpacked), _CHUNK)
        else:
            opened = gzip.open(path) if kind == "gzip" else bz2.open(path)  # noqa: SIM115
            with opened as plain:
                yield cast("BinaryIO", plain)


def check_packed(path: Path) -> str:
    """Unpack a file once, keeping nothing; does nothing for a file that is not packed.

    Returns:
        How the file is packed, as `packed_kind`.

    Raises:
        PackedError: it is damaged, or unpacks to more than `MAX_BYTES`, or to more than `MAX_RATIO` times its size.
    """
    kind = packed_kind(path)
    if not kind:
        return ""
    size, total, head = path.stat().st_size, 0, b""
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * size))
    with open_binary(path) as stream:
        while chunk := stream.read(_CHUNK):
            head = head or chunk[:512]
            total += len(chunk)
            if total > limit:
                why = f"{MAX_RATIO} times its {size:,} bytes" if limit < MAX_BYTES else f"{MAX_BYTES >> 30} GiB"
                raise PackedError(
                    f"the {kind} file unpacks to more than {why}: not read, it may be made to exhaust memory",
                    "extract it yourself if you trust it, and name the extracted file",
                )
    if head[257:262] == b"ustar":
        raise PackedError(f"the {kind} file holds a tar archive", "extract it, and name the files inside")
    return kind


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno and not path.is_file():
            raise
        encrypted = "password" in str(error)
        reason = (
            "encrypted" if encrypted else f"damaged or truncated: {str(error).splitlines()[0] if str(error) else ''}"
        )
        fix = "extract it with its password, and name the extracted file" if encrypted else "pack or download it again"
        raise PackedError(f"the {packed_kind(path) or 'packed'} file is {reason}".rstrip(": "), fix) from error


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one file of an archive."""
    infos = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/") and Path(info.filename).name not in _LITTER
    ]
    if any(info.filename == "[Content_Types].xml" for info in infos):
        raise PackedError("the file is an Excel workbook or another Office document", "save it as CSV")
    if len(infos) != 1:
        listed = ", ".join(repr(info.filename) for info in infos[:5]) + (", ..." if len(infos) > 5 else "")
        message = f"the zip archive holds {len(infos):,} files" + (f" ({listed})" if infos else "")
        raise PackedError(f"{message}, expected one", f"extract {path.name}, and name the files")
    return infos[0]
