"""Standard streams of a command: data on one descriptor of its own, messages that never end the work.

In: the descriptors that the shell has given. Out: streams. Descriptors that were closed are opened on /dev/null. While
a command runs, everything that libraries print, also from C++, goes to stderr: stdout has the command's data alone. A
reader that goes away (``head``, a dropped connection) silences its stream and changes nothing else.
"""

import errno
import io
import os
import sys
import warnings
from contextlib import suppress
from typing import Any, TextIO

from lft_ray.errors import LftError, LftWarning
from lft_ray.system.text import printable

__all__ = ["Quiet", "data_stream", "install", "open_closed", "show_warning", "taken"]

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.EBADF})
"""Errors of a stream whose reader is gone: a closed pipe, connection or terminal."""


class Quiet(io.TextIOBase):
    """A text stream that goes silent when nobody reads it any more.

    Args:
        stream: where to write.
        is_data: other errors, such as a full disk, raise `LftError`; messages are dropped on any error.
    """

    def __init__(self, stream: TextIO, *, is_data: bool = False) -> None:
        self._stream = stream
        self._is_data = is_data
        self.is_silent = False

    def write(self, text: str) -> int:
        """Write, or drop the text if the reader is gone."""
        if not self.is_silent:
            self._do(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing if the reader is gone."""
        if not self.is_silent:
            self._do(self._stream.flush)

    def _do(self, action: Any) -> None:
        try:
            action()
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else errno.EBADF  # ValueError: a closed file
            self.is_silent = True
            _drop(self._stream)
            if not self._is_data:
                # Descriptor 1 is a copy of that of the messages, see `install`: libraries write there.
                _drop(sys.__stdout__)
            if self._is_data and number not in _GONE:
                raise LftError(f"the output cannot be written: {error}", fix="free space, or write elsewhere") from None

    # Libraries ask a stream for these.
    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Descriptor of the stream."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Always: see `write`."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How characters are written that the encoding lacks."""
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        """The binary stream below."""
        return self._stream.buffer


def open_closed() -> None:
    """Open the descriptors 0 to 2 on /dev/null where they are closed, so that no file of ours gets their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number, inheritable=True)
                os.close(opened)
            else:
                os.set_inheritable(number, True)
    # Python leaves None for a descriptor that was closed.
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def install() -> None:
    """Give data a descriptor of its own, and let descriptor 1 be that of the messages."""
    own = os.dup(1)
    sys.stdout.flush()
    os.dup2(2, 1, inheritable=True)
    encoding = sys.stdout.encoding or "utf-8"
    data = open(own, "w", encoding=encoding, errors="backslashreplace", newline="\n")  # noqa: PTH123, SIM115
    sys.stdout = Quiet(data, is_data=True)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    sys.stderr = Quiet(sys.stderr)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of this package as one sentence, without the line of code that gave it; others as Python does."""
    if issubclass(category, LftWarning):
        text = f"warning: {printable(str(message))}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    with suppress(OSError, ValueError):
        (file or sys.stderr).write(text)


class taken:
    """While the block runs, `data_stream` is the present stdout, and what anything else prints goes to stderr."""

    stream: TextIO | None = None
    """Stream for data; None outside a command."""

    def __enter__(self) -> None:
        self._before = taken.stream
        self._stdout = sys.stdout
        taken.stream = taken.stream or sys.stdout
        sys.stdout = sys.stderr

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._stdout
        taken.stream = self._before


def data_stream() -> TextIO:
    """The stream for the data of the command."""
    return taken.stream or sys.stdout


def _drop(stream: TextIO | None) -> None:
    """Point the descriptor at /dev/null, so that what is still buffered raises nothing at exit."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
