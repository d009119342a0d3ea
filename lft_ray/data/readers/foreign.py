"""Name files that are no table of rows by their first bytes. In: the first bytes. Out: what it is and what to do.

Without it, a database looks like UTF-16 and a PDF like Hebrew, and the advice would be to name that encoding. Never
reads a file.
"""

from dataclasses import dataclass

__all__ = ["Foreign", "foreign"]

_SAVE = "save its rows as CSV, JSONL or Parquet"
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF document", _SAVE),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV: sqlite3 -header -csv FILE 'select ...'"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as Parquet: pandas.read_feather(...).to_parquet(...)"),
    (b"Obj\x01", "an Avro file", _SAVE),
    (b"\x89HDF", "an HDF5 file", _SAVE),
    (b"\x93NUMPY", "a numpy array", _SAVE),
    (b"{\\rtf", "an RTF document", "save it as plain text in CSV form"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "save it as CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data", "git lfs pull"),
    *((b"\x80" + bytes([protocol]), "a Python pickle, which is never loaded", _SAVE) for protocol in (2, 3, 4, 5)),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file is, and how to get rows from it."""

    what: str
    fix: str


def foreign(head: bytes) -> Foreign | None:
    """Tell what a file is that is no table of rows; None if its first bytes say nothing of the kind."""
    for magic, what, fix in _KINDS:
        if head.startswith(magic):
            return Foreign(what, fix)
    if head.startswith(b"ORC") and any(byte < 9 for byte in head[3:32]):
        return Foreign("an ORC file", _SAVE)
    start = head[:100].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_PAGES):
        what = "an XML document" if start.startswith(b"<?xml") else "a web page"
        return Foreign(what, "download the file itself: a page in its place often asks to sign in")
    return None
