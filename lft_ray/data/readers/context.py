"""What a reader of one file is given, and how it opens text. In: a path. Out: the file's lines, or errors by place.

Never looks at rows: that is the reader's.
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
    """One file on its way in.

    Attributes:
        path: where it is.
        encoding: codec name, of a text file.
        wanted: which columns are looked for.
        findings: where its errors and warnings go, under the name that the user gave it.
    """

    path: Path
    encoding: str
    wanted: WantedColumns
    findings: FileFindings

    @contextmanager
    def open_text(self, newline: str | None = None) -> Iterator[TextIO]:
        """Open the file as text; what its encoding does not allow becomes an error with line and byte, and ends it."""
        try:
            with self.path.open(encoding=text_encoding(self.encoding), newline=newline) as stream:
                yield stream
        except UnicodeDecodeError:
            self._report_bad_byte()
        except UnicodeError as error:
            self.findings.error("encoding", f"the file is not {self.encoding}: {error}", fix="set data.encoding")

    def _report_bad_byte(self) -> None:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        line, offset = 1, 0
        with self.path.open("rb") as stream:
            for raw in stream:
                try:
                    decoder.decode(raw)
                except UnicodeDecodeError as error:
                    at = offset + error.start - (len(error.object) - len(raw))
                    byte = f"byte 0x{error.object[error.start]:02x} at byte {at:,} of the file"
                    fix = "save the file as UTF-8, or --set data.encoding=cp1252 if that is what it is"
                    self.findings.error("encoding", f"{byte} is not {self.encoding}", row=line, fix=fix)
                    return
                offset += len(raw)
                line += 1
        self.findings.error("encoding", f"the file ends within a character of {self.encoding}", row=line)


def text_encoding(encoding: str) -> str:
    """Return the codec to open a file with: UTF-8 also takes a byte order mark and drops it."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
