"""Output of the commands: data on stdout, messages on stderr, errors as text and exit code instead of a traceback.

Exit codes: 0 ok, 2 bad input, 3 no winner, 4 unreachable, 5 most trials failed, 130 interrupted, 1 unexpected error (a
bug).
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from lft_ray.errors import LftError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["guarded", "next_command", "print_json", "print_message", "stderr", "stdout"]

P = ParamSpec("P")
R = TypeVar("R")


def stdout() -> "Console":
    """Return the console for data."""
    from rich.console import Console

    # A pipe has no width; 160 columns keep each row of a table on one line.
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def stderr() -> "Console":
    """Return the console for messages and progress."""
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else 160, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def print_message(text: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


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
        print_message("interrupted")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of the pipe (head, less) has exited, which is not an error.
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception as error:
        if debug:
            raise
        log = _save_traceback()
        print_message(f"error: {type(error).__name__}: {error}\n  this is a bug in lft_ray; the traceback is in {log}")
        raise SystemExit(1) from None


def _save_traceback() -> Path:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="lft-", suffix=".traceback", delete=False) as stream:
        stream.write(traceback.format_exc())
    return Path(stream.name)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: errors become messages and exit codes; LFT_DEBUG=1 shows tracebacks instead."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import os

        with _no_traceback(debug=bool(os.environ.get("LFT_DEBUG"))):
            return command(*args, **kwargs)

    return run
