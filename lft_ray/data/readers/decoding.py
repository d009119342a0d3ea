"""Decode text files strictly. In: bytes or a path. Out: lines, or the place of the first byte that does not fit.

A line ends with LF or CR LF and nothing else: NEL, U+2028 and form feeds are characters of a text. Never guesses an
encoding: a wrong one is an error that names those which would fit.
"""

import codecs
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lft_ray.data.readers.encodings import high_lines, likely_encodings
from lft_ray.data.readers.foreign import Foreign, foreign
from lft_ray.data.readers.packed import PackedError, check_packed, open_binary
from lft_ray.errors import ConfigError, InputError

__all__ = ["BadByte", "check_encoding", "find_bad_byte", "marked_encoding", "read_lines", "text_encoding", "text_lines"]

_UTF16_ZEROS = 8
"""Zeros at every other byte of UTF-16 for one in between; runs of zeros, as a crash leaves behind, have equal many."""
_HINT_BYTES = 4_000_000
"""Bytes of the file that the hint is tried on."""


@dataclass(frozen=True, slots=True)
class BadByte:
    """Where a file stops being text in its encoding.

    Attributes:
        line: line number, from 1.
        message: what is wrong there.
        fitting: an encoding in which the file looks like text; empty where none does.
        reading: the text around the byte in that encoding.
    """

    line: int
    message: str
    fitting: str
    reading: str

    def fix(self, option: str) -> str:
        """How to read the file, given the option that names an encoding, such as ``--set data.encoding=``."""
        if not self.fitting:
            return f"save the file as UTF-8, or name its encoding with {option}NAME; none of those known here fits"
        told = f" ({self.fitting} reads {self.reading!r} there)" if self.reading else ""
        return f"{option}{self.fitting}{told}, or save the file as UTF-8"


def check_encoding(encoding: str, where: str = "data.encoding") -> None:
    """Refuse an unknown codec, and one that does not give text.

    Raises:
        ConfigError: there is no such text encoding; ``where`` names the key or option.
    """
    try:
        known = codecs.lookup(encoding)
        # Binary transforms such as base64 and zlib are codecs too.
        usable = getattr(known, "_is_text_encoding", True)
        # Some codecs are for other things than files (idna), or for nothing (undefined).
        usable = usable and "text".encode(encoding).decode(encoding, "replace") == "text"
    except (LookupError, ValueError):  # UnicodeError is a ValueError
        usable = False
    if not usable:
        raise ConfigError(f"unknown encoding {encoding!r} at {where}", fix="use utf-8, utf-16, cp1252, ...")


def text_encoding(encoding: str) -> str:
    """Return the codec to open a file with: for UTF-8, the one that drops a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def marked_encoding(head: bytes) -> str:
    """Return the UTF-16 or UTF-32 encoding that the first bytes of a file show, or an empty string."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) > 7 and head.count(0) > len(head) * 0.3:
        # Latin text in UTF-16 without a byte order mark: every other byte is zero, and few of the others.
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > _UTF16_ZEROS * min(even, odd):
            return "utf-16-le" if odd > even else "utf-16-be"
    return ""


def find_bad_byte(stream: BinaryIO, encoding: str) -> BadByte | None:
    """Return the first place of a file, read from its start, that is not text in an encoding."""
    decoder = codecs.getincrementaldecoder(text_encoding(encoding))()
    line, offset, head = 1, 0, b""
    for raw in stream:
        head = head or raw[:4096]
        try:
            decoder.decode(raw)
        except UnicodeDecodeError as error:
            # The object may begin with bytes that the decoder kept from the line before.
            at = error.start - (len(error.object) - len(raw))
            byte = f"byte 0x{error.object[error.start]:02x} at byte {offset + at:,} of the file is not {encoding}"
            known = marked_encoding(head)
            return BadByte(line, byte, *((known, "") if known else _fitting(stream, raw, at)))
        except UnicodeError as error:
            return BadByte(line, f"the file is not {encoding}: {error}", marked_encoding(head) or "utf-8", "")
        offset += len(raw)
        line += 1
    try:
        decoder.decode(b"", final=True)
    except UnicodeError:
        return BadByte(max(line - 1, 1), f"the file ends in the middle of a {encoding} character", "cp1252", "")
    return None


def _fitting(stream: BinaryIO, raw: bytes, at: int) -> tuple[str, str]:
    rest = stream.read(_HINT_BYTES)
    # Cut at a line end: half of a character at the end would count against an encoding of several bytes.
    lines = (raw + rest[: rest.rfind(b"\n") + 1]).splitlines(keepends=True)
    for name in likely_encodings(high_lines(lines)):
        before, after = raw[max(0, at - 12) : at].decode(name, "ignore"), raw[at : at + 12].decode(name, "ignore")
        return name, (before + after).strip()
    return "", ""


def read_lines(file: str | None, stream: BinaryIO | None = None, *, encoding: str = "utf-8") -> list[str]:
    """Read the lines of a text file or of a stream of bytes, blank ones included, without their ends.

    Args:
        file: path of the file, packed or not; None: read the stream.
        stream: source of bytes, such as stdin.
        encoding: encoding of the file; a byte order mark is dropped.

    Raises:
        InputError: the file cannot be read, or is not text in the encoding.
        ConfigError: the encoding is unknown.
    """
    check_encoding(encoding, "--encoding")
    try:
        data = _file_bytes(Path(file)) if file is not None else stream.read() if stream is not None else b""
    except PackedError as error:
        raise InputError(f"{file}: {error}", fix=error.fix) from None
    except OSError as error:
        raise InputError(f"{file or 'stdin'} cannot be read: {error.strerror or error}") from None
    marked = marked_encoding(data[:4096])
    bad = find_bad_byte(io.BytesIO(data), encoding)
    if bad is None and marked and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        bad = BadByte(1, f"the file looks like {marked.upper()}, expected {encoding}", marked, "")
    # Lines of text may be HTML; what cannot be decoded is told by what it is.
    what = Foreign("a Parquet file", "") if data.startswith(b"PAR1") else foreign(data[:4096])
    if bad is not None and what is not None:
        raise InputError(f"{file or 'stdin'} is {what.what}, not lines of text", fix="pass one text per line")
    if bad is not None:
        raise InputError(f"{file or 'stdin'}:{bad.line}: {bad.message}", fix=bad.fix("--encoding "))
    return text_lines(data.decode(text_encoding(encoding)).removeprefix("\ufeff"))


def _file_bytes(path: Path) -> bytes:
    if not path.is_file():
        return path.read_bytes()  # a pipe can be read only once
    check_packed(path)
    with open_binary(path) as opened:
        return opened.read()


def text_lines(text: str) -> list[str]:
    """Split a text at LF and CR LF; at CR alone only where there is no LF at all, as old Macintosh files have it."""
    if not text:
        return []
    end = "\n" if "\n" in text else "\r"
    lines = text.split(end)
    if not lines[-1].strip("\r"):
        lines.pop()  # what follows the last line end is no line
    return [line.removesuffix("\r") for line in lines] if end == "\n" else lines
