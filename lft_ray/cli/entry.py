"""Entry point of the ``lft`` script. Installs handlers of signals before it imports anything that takes time.

In: nothing. Out: the exit of the process. Never more than the first moments: `lft_ray.cli.process` takes over.
"""

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """Run the ``lft`` command."""
    # Nothing has been started yet, so there is nothing to clean up.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from lft_ray.cli.process import run

    run(_load)


def _leave(number: int, frame: object) -> "NoReturn":
    del frame
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)


def _load() -> "Callable[[], object]":
    from lft_ray.cli.app import app

    return app
