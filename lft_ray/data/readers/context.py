"""Context passed to the reader of a file, and strict decoding. In: a path. Out: a text stream, or errors by line.

Never parses rows: that is up to the readers.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.decoding import find_bad_byte, text_encoding
from lft_ray.data.readers.packed import open_binary
from lft_ray.tasks.findings import FileFindings

__all__ = ["ReadContext"]


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
            is_marked = self._is_marked()
            with self.text(newline) as stream:
                if is_marked:
                    stream.read(1)
                yield stream
        except UnicodeError as error:
            self._report_bad_byte(error)

    @contextmanager
    def text(self, newline: str | None = None) -> Iterator[TextIO]:
        """Open the file as text from its start, unpacked, byte order mark included; an invalid byte raises."""
        with (
            open_binary(self.path) as binary,
            io.TextIOWrapper(binary, encoding=text_encoding(self.encoding), newline=newline) as stream,
        ):
            yield stream

    def _is_marked(self) -> bool:
        """Whether the codec keeps a byte order mark as a character, as those of a fixed byte order do."""
        with suppress(UnicodeError), self.text() as stream:  # the reader meets it again
            return stream.read(1) == "\ufeff"
        return False

    def _report_bad_byte(self, error: UnicodeError) -> None:
        # The exception counts from an internal buffer: decode again line by line to find the line and byte offset.
        with open_binary(self.path) as stream:
            bad = find_bad_byte(stream, self.encoding)
        message = bad.message if bad else f"the file is not {self.encoding}: {error}"
        fix = bad.fix(self.wanted.option("encoding")) if bad else "set data.encoding"
        self.findings.error("encoding", message, row=bad.line if bad else None, fix=fix)
