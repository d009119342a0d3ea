"""Context passed to the reader of a file, and strict decoding. In: a path. Out: a text stream, or errors by line.

Never parses rows: that is up to the readers.
"""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lft_ray.data.findings import FileFindings
from lft_ray.data.readers.columns import WantedColumns

__all__ = ["ReadContext", "text_encoding"]


@dataclass(frozen=True, slots=True)
class ReadContext:
    """A file to read, and where to report its problems.

    Attributes:
        path: path of the file.
        encoding: codec name, for text files.
        wanted: columns to look for.
        findings: collects errors and warnings under the file name as the user wrote it.
    """

    path: Path
    encoding: str
    wanted: WantedColumns
    findings: FileFindings

    @contextmanager
    def open_text(self, newline: str | None = None) -> Iterator[TextIO]:
        """Open the file as text; an invalid byte ends the reading with an error that gives its line and offset."""
        try:
            with self.path.open(encoding=text_encoding(self.encoding), newline=newline) as stream:
                yield stream
        except UnicodeDecodeError:
            self._report_bad_byte()
        except UnicodeError as error:
            self.findings.error("encoding", f"the file is not {self.encoding}: {error}", fix="set data.encoding")

    def _report_bad_byte(self) -> None:
        # The exception counts from an internal buffer: decode again line by line to find the line and byte offset.
        decoder = codecs.getincrementaldecoder(self.encoding)()
        line, offset = 1, 0
        with self.path.open("rb") as stream:
            for raw in stream:
                try:
                    decoder.decode(raw)
                except UnicodeDecodeError as error:
                    at = offset + error.start - (len(error.object) - len(raw))
                    byte = f"byte 0x{error.object[error.start]:02x} at byte {at:,} of the file"
                    fix = "save the file as UTF-8, or name its encoding, such as --set data.encoding=cp1252"
                    self.findings.error("encoding", f"{byte} is not {self.encoding}", row=line, fix=fix)
                    return
                offset += len(raw)
                line += 1
        self.findings.error("encoding", f"the file ends in the middle of a {self.encoding} character", row=line)


def text_encoding(encoding: str) -> str:
    """Return the codec to open a file with: for UTF-8, the one that drops a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
