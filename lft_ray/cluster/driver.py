"""This process as the driver of a Ray cluster: its signals, its token, the import path of its workers, the forced end.

In: a block that starts or uses Ray. Out: nothing. Ray installs handlers of its own for SIGTERM, in Python and in C++;
the latter abort the process with a stack. Where the command owns the signals, they stay with it. Never connects itself.
"""

import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lft_ray
from lft_ray.system import signals

__all__ = [
    "end_cluster", "ended_by_force", "forget_token", "has_token", "is_ending_by_force", "job_config", "keeping_signals",
    "keeping_sigterm", "own_token", "shut_down",
]  # fmt: skip

_started: list[Path] = []
"""Temporary folders of the clusters that this process has started."""


class _DriverPath(list[str]):
    """Search path that Ray hands to workers, without a working directory that the driver itself does not search.

    Ray adds the working directory, first of all: a ``secrets.py`` beside the data would replace the module of Python.
    """

    def extend(self, others: Iterable[str]) -> None:
        here = os.path.realpath(os.curdir)
        searched = {os.path.realpath(part or os.curdir) for part in sys.path}
        super().extend(part for part in others if os.path.realpath(part) != here or here in searched)


def job_config() -> Any:
    """Ray's ``JobConfig`` with which workers search the path of this driver."""
    from ray.job_config import JobConfig

    config = JobConfig()
    own = Path(lft_ray.__file__).resolve().parent.parent
    # Ray puts these folders first: an installed package needs none, and site-packages may not precede Python's library.
    config._py_driver_sys_path = _DriverPath([] if own.name.endswith("-packages") else [str(own)])
    return config


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Let the command keep its signals while the block calls ``ray.init``. No effect in other programs."""
    if not signals.owned():
        yield
        return
    from ray import _raylet
    from ray._private import utils

    core_worker, set_handler = _raylet.CoreWorker, utils.set_sigterm_handler  # type: ignore[attr-defined]

    def create(*args: Any, **kwargs: Any) -> Any:
        # Its C++ code installs a handler that prints a stack and aborts.
        try:
            return core_worker(*args, **kwargs)
        finally:
            signals.reinstall()

    _raylet.CoreWorker, utils.set_sigterm_handler = create, lambda handler: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        _raylet.CoreWorker, utils.set_sigterm_handler = core_worker, set_handler  # type: ignore[attr-defined]
        signals.reinstall()


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Leave SIGTERM in the same hands while the block calls ``ray.shutdown``.

    Ray's C++ code gives it back to the kernel when the driver leaves: the next one would end this process without a
    word, its temporary folders left behind. So the handler is set again before the processes of an owned cluster are
    ended, which takes a second or more, and after the block.
    """
    from ray._private import worker

    handler = signal.getsignal(signal.SIGTERM)

    def restore() -> None:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    node: Any = worker._global_node
    if node is not None:
        end_processes = node.kill_all_processes

        def restore_and_end(*args: Any, **options: Any) -> Any:
            restore()
            return end_processes(*args, **options)

        node.kill_all_processes = restore_and_end
    try:
        yield
    finally:
        restore()


def shut_down() -> None:
    """``ray.shutdown``, with SIGTERM in the same hands as before."""
    import ray

    with keeping_sigterm():
        ray.shutdown()


@contextmanager
def ended_by_force(folder: Path) -> Iterator[None]:
    """Within the block, a command that is interrupted ends the cluster it has started without Ray's help.

    Args:
        folder: temporary folder of the cluster.
    """
    _started.append(folder)
    try:
        with signals.at_leave(lambda: end_cluster(folder)):
            yield
    finally:
        _started.remove(folder)


def is_ending_by_force() -> bool:
    """Whether this command was interrupted, and ends its own cluster by force.

    What runs in the cluster then needs no end of its own: Serve's takes seconds, more than the command has left.
    """
    return bool(_started) and signals.received() is not None


def end_cluster(folder: Path) -> None:
    """End the processes of a cluster that this process has started, without Ray's help, and delete its folder.

    The raylet is frozen first, so that it starts nothing anew, and ends last: Ray's C++ code in this process exits with
    words of its own as soon as the raylet is gone, so the caller must leave at once.

    Args:
        folder: temporary folder of the cluster, which the command lines of its processes name.
    """
    import psutil

    roots, rest = [], []
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                roots.append(process)
    raylets = [process for process in roots if _is_raylet(process)]
    for process in raylets:
        with suppress(psutil.Error):
            process.suspend()
    for process in roots:
        with suppress(psutil.Error):
            rest += process.children(recursive=True)
    for process in [*rest, *(root for root in roots if root not in raylets)]:
        with suppress(psutil.Error):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    for process in raylets:
        with suppress(psutil.Error):
            process.kill()


def _is_raylet(process: Any) -> bool:
    import psutil

    with suppress(psutil.Error):
        return bool(process.name() == "raylet")
    return False


def own_token(folder: Path) -> dict[str, str]:
    """Variables of a token in the folder of the cluster: Ray's own is in the home, which may not be writable."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    return {"RAY_AUTH_TOKEN_PATH": str(token)}


def has_token() -> bool:
    """Whether Ray would find the token of an existing cluster: in one of its variables, or in the home."""
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return True
    with suppress(RuntimeError):  # there is no home
        return (Path.home() / ".ray" / "auth_token").is_file()
    return False


def forget_token() -> None:
    """Let Ray read its token anew: it caches the one of an earlier cluster of this process."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    AuthenticationTokenLoader.instance().reset_cache()
