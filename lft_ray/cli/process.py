"""The process of the ``lft`` command: signals, streams, temporary folder and environment, from start to exit code.

In: a function that loads the command line. Out: the exit of the process. Imports nothing heavy: an interrupt during the
imports of the command line must find its handlers in place.
"""

import atexit
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from lft_ray.cli import streams
from lft_ray.system import scratch, signals

__all__ = ["run"]


def run(load: Callable[[], Callable[[], object]]) -> NoReturn:
    """Run the command line, and exit with its code.

    Args:
        load: imports the command line, and returns it.
    """
    code = 0
    try:
        streams.open_closed()
        signals.own()
        streams.install()
        warnings.showwarning = streams.show_warning
        with scratch.own():
            code = _code_of(load)
    except KeyboardInterrupt:
        pass
    _exit(code)


def _code_of(load: Callable[[], Callable[[], object]]) -> int:
    try:
        # Some stages run in this process, so it needs the environment of a worker; libraries read it when imported.
        from lft_ray.cluster.environment import WORKER_ENV

        for name, value in WORKER_ENV.items():
            os.environ.setdefault(name, value)
        load()()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # with LFT_DEBUG: see `lft_ray.cli.output.guarded`  # noqa: BLE001
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _exit(code: int) -> NoReturn:
    interrupted = signals.exit_code()
    if interrupted is not None:
        signals.leave(interrupted)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception as error:  # data that are not written: exit 0 would say that they are  # noqa: BLE001
            with suppress(Exception):
                sys.stderr.write(f"error: {error}\n")
            code = code or 1
    if "ray" in sys.modules:
        # Threads of Ray call into C++ that is being torn down: the end of the interpreter was a SIGSEGV at times.
        with suppress(Exception):
            atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)
