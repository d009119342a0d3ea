"""Detect the format of a file by its first bytes, then by its name. In: a path. Out: a `Format`, or an error."""

import codecs
from enum import StrEnum
from pathlib import Path

from lft_ray.data.readers.decoding import marked_encoding, text_encoding
from lft_ray.data.readers.foreign import foreign
from lft_ray.data.readers.packed import inner_name, open_binary
from lft_ray.tasks.findings import FileFindings

__all__ = ["Format", "sniff"]

_UTF8_BYTES = 4_000_000
"""Bytes in which a character above ASCII is sought, to tell UTF-8 from the encoding that was named."""
HEAD_BYTES = 65_536
"""Bytes read to detect the format."""
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""Files that are not unpacked, also within a packed file."""


class Format(StrEnum):
    """A readable file format."""

    CSV = "csv"
    TSV = "tsv"
    JSON_LINES = "jsonl"
    JSON_ARRAY = "json"
    PARQUET = "parquet"


_BY_SUFFIX = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON_ARRAY,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}


def sniff(path: Path, encoding: str, findings: FileFindings, *, option: str = "--set data.encoding=") -> Format | None:
    """Return the format of a file, or None after an error was added.

    The content decides, not the file name; a mismatch gives a warning. ``option`` sets the encoding, for the fix.
    """
    with open_binary(path) as stream:
        head = stream.read(HEAD_BYTES)
    if not head.removeprefix(codecs.BOM_UTF8).strip() or head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        findings.error("empty_file", "the file is empty", fix="use a file with a header and rows")
        return None
    archive = next((kind for magic, kind in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive:
        fix = "extract it first, or save it as CSV, JSONL or Parquet, packed with gzip, zstd or zip if you like"
        findings.error("packed_file", f"the file is {archive}, which cannot be read", fix=fix)
        return None
    other = foreign(head)
    if other is not None:
        findings.error("no_table", f"the file is {other.what}", fix=other.fix)
        return None
    named = _BY_SUFFIX.get(inner_name(path).suffix.lower())
    if head.startswith(b"PAR1"):
        return _checked(Format.PARQUET, named, findings)
    if named is Format.PARQUET:
        fix = "write it again, or rename it if it is CSV or JSONL"
        findings.error("damaged_file", "the file does not start with the Parquet signature", fix=fix)
        return None
    if not _is_known_encoding(head, encoding, findings, option):
        return None
    _warn_of_utf8(path, encoding, findings, option)
    text = head.decode(text_encoding(encoding), errors="replace")
    return _checked(_text_format(text.lstrip(), named), named, findings)


def _text_format(text: str, named: Format | None) -> Format:
    first_line = text.partition("\n")[0]
    if text.startswith("["):
        # A CSV header may also start with a bracket: require a JSON file name or an object after it.
        is_json = named in (Format.JSON_ARRAY, Format.JSON_LINES) or text[1:].lstrip().startswith("{")
        return Format.JSON_ARRAY if is_json else named or Format.CSV
    # A CSV header may start with a brace too, such as {text}: an object goes on with a quoted key.
    if text.startswith("{") and (named not in (Format.CSV, Format.TSV) or text[1:].lstrip()[:1] in {'"', "}"}):
        return Format.JSON_LINES
    has_delimiter = "," in first_line or "\t" in first_line
    if named in (Format.JSON_ARRAY, Format.JSON_LINES) and (not has_delimiter or first_line.startswith('"')):
        return Format.JSON_LINES
    if named in (Format.CSV, Format.TSV):
        return named
    return Format.TSV if "\t" in first_line else Format.CSV


def _checked(found: Format, named: Format | None, findings: FileFindings) -> Format:
    # A .json file with one object per line is common and harmless.
    same = {named, found} <= {Format.JSON_ARRAY, Format.JSON_LINES} and named is Format.JSON_ARRAY
    if named is not None and found is not named and not same:
        message = f"the file name says {named.value}, but the content is {found.value}; read as {found.value}"
        findings.warning("wrong_extension", message, fix=f"rename it to end in .{found.value}")
    return found


def _is_known_encoding(head: bytes, encoding: str, findings: FileFindings, option: str) -> bool:
    name = codecs.lookup(encoding).name
    if name.startswith(("utf-16", "utf-32")):
        return True
    found = marked_encoding(head)
    if found:
        fix = f"{option}{found}, or save the file as UTF-8"
        findings.error("encoding", f"the file is {found.upper()}, expected {encoding}", fix=fix)
    return not found


def _warn_of_utf8(path: Path, encoding: str, findings: FileFindings, option: str) -> None:
    """Warn of UTF-8 that is read in another encoding: most decode any bytes, and every accent becomes two characters.

    One encoding holds for all files of an experiment, and train may be cp1252 where test is UTF-8.
    """
    if codecs.lookup(encoding).name.startswith("utf"):
        return
    with open_binary(path) as stream:
        data = stream.read(_UTF8_BYTES)
    try:
        # A character may be cut at the end.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data)
        read = data.decode(encoding, errors="ignore")
    except UnicodeError:
        return
    at = next((place for place, character in enumerate(text) if not character.isascii()), None)
    if at is None or text == read:
        return
    word = text[max(0, at - 10) : at + 5]
    told = f"{word!r} becomes {word.encode().decode(encoding, errors='replace')!r}"
    message = f"the file is UTF-8 by its bytes, and is read as {encoding}: {told}"
    findings.warning("encoding_utf8", message, fix=f"{option}utf-8, and save other files as UTF-8 too")
