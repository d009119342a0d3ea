"""What the commands say: data on stdout, talk on stderr, errors without a traceback, exit codes.

Exit codes: 0 ok, 2 bad input, 3 no winner, 4 unreachable, 130 interrupted, 1 anything we did not foresee.
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

__all__ = ["guarded", "next_command", "print_json", "stderr", "stdout", "told"]

P = ParamSpec("P")
R = TypeVar("R")


def stdout() -> "Console":
    """Console for data."""
    from rich.console import Console

    # A pipe has no width of its own: 160 columns keep the rows of a table on one line.
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def stderr() -> "Console":
    """Console for talk."""
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else 160, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def told(text: str) -> None:
    """One line of talk on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def next_command(text: str) -> None:
    """What to type next; every command that succeeds ends with it."""
    told(f"next: {text}")


@contextmanager
def _no_traceback(debug: bool) -> Iterator[None]:
    try:
        yield
    except LftError as error:
        if debug:
            raise
        told(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        told("interrupted")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: not an error of ours.
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception as error:
        if debug:
            raise
        log = _save_traceback()
        told(f"error: {type(error).__name__}: {error}\n  this is a defect of lft_ray; the traceback is in {log}")
        raise SystemExit(1) from None


def _save_traceback() -> Path:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="lft-", suffix=".traceback", delete=False) as stream:
        stream.write(traceback.format_exc())
    return Path(stream.name)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: named errors and exit codes instead of tracebacks (LFT_DEBUG=1 shows them)."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import os

        with _no_traceback(debug=bool(os.environ.get("LFT_DEBUG"))):
            return command(*args, **kwargs)

    return run
