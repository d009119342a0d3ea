"""Output of the commands: data on stdout, messages on stderr, errors as text and exit code instead of a traceback.

Text from outside (paths, labels, texts) is never markup, and its control characters are shown as escapes. Exit codes:
0 ok, 2 bad input, 3 no winner, 4 unreachable, 5 trials failed, 1 unexpected error (a bug); interrupted: 130 by SIGINT,
143 by SIGTERM, 129 by SIGHUP. Exit code 0 says that the work is done, whether or not somebody has read the output.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO, TypeVar

from lft_ray.cli.streams import data_stream, taken
from lft_ray.errors import LftError
from lft_ray.system import signals
from lft_ray.system.text import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "guarded", "next_command", "print_json", "print_json_line", "print_line", "print_message", "stderr", "stdout",
]  # fmt: skip

NARROWEST = 80
"""Columns that tables of data take on any terminal."""
P = ParamSpec("P")
R = TypeVar("R")


def stdout() -> "Console":
    """Return the console for data."""
    return _console(data_stream())


def stderr() -> "Console":
    """Return the console for messages and progress."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> "Console":
    from rich.console import Console
    from rich.text import Text

    class PlainConsole(Console):
        """A console that shows every string as it is: no markup, no emoji names, hidden characters as escapes."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text, keep="\n\t"), **{**options, "markup": False, "emoji": False})

    # A pipe has no width; 160 columns keep each row of a table on one line.
    width = None if stream.isatty() else 160
    console = PlainConsole(file=stream, stderr=stream is sys.stderr, width=width, highlight=False, markup=False)
    if stream is not sys.stderr and console.width < NARROWEST:
        # Squeezed further, a table drops its numbers; the terminal breaks its lines instead. Not for the live table,
        # which counts the lines that it has to move up.
        console.width = NARROWEST
    return console


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    _write_json(value, indent=1)


def print_json_line(value: Any) -> None:
    """Print one JSON document on stdout, as one line of several."""
    _write_json(value, indent=None)


def _write_json(value: Any, *, indent: int | None) -> None:
    stream = data_stream()
    is_unicode = (stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    stream.write(json_text(value, indent=indent, ascii_only=not is_unicode) + "\n")


def print_line(text: str) -> None:
    """Print one line of data on stdout."""
    _write(data_stream(), printable(text, keep="\t"))


def print_message(text: str) -> None:
    """Print a message on stderr; its line breaks are kept."""
    with suppress(OSError, ValueError):  # a reader that is gone never ends the work
        _write(sys.stderr, printable(text, keep="\n\t"))
        sys.stderr.flush()


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def next_command(text: str) -> None:
    """Print the command to run next; every successful command ends with it."""
    print_message(f"next: {text}")


@contextmanager
def _no_traceback(debug: bool) -> Iterator[None]:
    try:
        yield
    except LftError as error:
        if debug:
            raise
        print_message(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        signals.tell(print_message)
        raise SystemExit(signals.exit_code() or 130) from None
    except Exception as error:
        if signals.received() is not None:
            # What was cut off by the signal fails in words of its own; the signal is the reason.
            signals.tell(print_message)
            raise SystemExit(signals.exit_code() or 130) from None
        if debug:
            raise
        log = _save_traceback()
        print_message(f"error: {type(error).__name__}: {error}\n  this is a bug in lft_ray; the traceback is in {log}")
        raise SystemExit(1) from None


def _save_traceback() -> Path | str:
    import traceback

    from lft_ray.system.scratch import traceback_file

    text = traceback.format_exc()
    try:
        path = traceback_file()
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:  # a full disk, perhaps the very error
        print_message(text)
        return f"the lines above ({error})"
    return path


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: errors become messages and exit codes; LFT_DEBUG=1 shows tracebacks instead."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import os

        signals.start_words()
        with taken(), _no_traceback(debug=bool(os.environ.get("LFT_DEBUG"))):
            return command(*args, **kwargs)

    return run
