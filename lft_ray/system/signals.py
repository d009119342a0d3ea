"""One owner of SIGINT, SIGTERM and SIGHUP for the whole of a command, from its first import to its last line.

In: signals. Out: `Interrupted` in the main thread, and a process that certainly ends. The first signal unwinds the
command; if that takes longer than `GRACE_S`, or on a second signal, the registered acts run and the process leaves.
A thread reads the signals, so that a main thread inside a library cannot hold them up. Never used by the library: only
the command owns its process. A signal that was ignored when the process started (``nohup``) stays ignored.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = [
    "GRACE_S",
    "SIGNALS",
    "Interrupted",
    "at_leave",
    "deferred",
    "exit_code",
    "leave",
    "own",
    "owned",
    "received",
    "reinstall",
    "released",
    "say_at_end",
    "start_words",
    "tell",
]  # fmt: skip

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE_S = 8.0
"""Seconds that an orderly end may take after the first signal; the promise is ten."""
SAME_S = 0.2
"""A second signal within this time is the first one again: ``timeout`` signals a process and then its group."""
AGAIN_S = 0.02
"""Seconds until a signal whose exception was lost is raised again: long enough to be out of the destructor."""
LAST_ACTS_S = 1.5
"""Seconds that the registered acts may take when the process leaves at once; the promise is two."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells report it: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class _Owner:
    """State of the process; there is one."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        """Signals that this process handles; empty: it does not own them."""
        self.received: int | None = None
        self.received_s = 0.0
        self.is_released = False
        self.defer: Callable[[], None] | None = None
        self.acts: list[Callable[[], None]] = []
        self.last_words: list[str] = []
        self.has_told = False
        self.is_lost = False
        """Whether the exception of the signal was raised where nothing propagates, and is to be raised again."""
        self.leaving = threading.Lock()
        self.telling = threading.Lock()


_owner = _Owner()


def owned() -> bool:
    """Whether this process owns its signals: it is a command, and not a program that uses the library."""
    return bool(_owner.numbers)


def own() -> None:
    """Install the handlers and the thread that reads the signals. Called once, in the main thread, by the command."""
    if owned() or threading.current_thread() is not threading.main_thread():
        return
    _owner.numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(receiver,), name="lft-signals", daemon=True).start()
    sys.unraisablehook = _raising_again(sys.unraisablehook)
    reinstall()


def reinstall() -> None:
    """Take the signals back from a library that has installed handlers of its own, such as Ray. Main thread only."""
    if not _owner.is_released and threading.current_thread() is threading.main_thread():
        for number in _owner.numbers:
            signal.signal(number, _handle)


def received() -> int | None:
    """The first signal that asked this command to end; None so far."""
    return _owner.received


def exit_code() -> int | None:
    """Exit code of an interrupted command; None if it is not interrupted."""
    return None if _owner.received is None else 128 + _owner.received


@contextmanager
def deferred(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call ``on_signal`` on the first signal instead of raising `Interrupted`, for loops that end between two steps."""
    before, _owner.defer = _owner.defer, on_signal
    try:
        yield
    finally:
        _owner.defer = before


@contextmanager
def released() -> Iterator[None]:
    """Python's own handlers within the block, for a wait that a signal ends on purpose (``--foreground``)."""
    if not owned():
        yield
        return
    _owner.is_released = True
    for number in _owner.numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        _owner.is_released = False
        reinstall()


@contextmanager
def at_leave(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, ``act`` runs if the process must leave without unwinding. Acts run in reverse order."""
    _owner.acts.append(act)
    try:
        yield
    finally:
        # An interrupted command leaves for good, so the act is still due; otherwise the block has done it in order.
        if _owner.received is None:
            with suppress(ValueError):
                _owner.acts.remove(act)


def say_at_end(line: str) -> None:
    """Add a line that is printed once if the command is interrupted, such as the command that continues a run."""
    if line not in _owner.last_words:
        _owner.last_words.append(line)


def start_words() -> None:
    """Forget the last words of an earlier command of this process."""
    _owner.last_words.clear()
    _owner.has_told = False


def tell(write: Callable[[str], None] | None = None) -> None:
    """Print ``interrupted`` and the last words on stderr, once, whoever comes first.

    Args:
        write: prints a text with its line break; None: straight to the descriptor, for the stream may be locked by the
            thread that was interrupted.
    """
    with _owner.telling:
        if _owner.has_told:
            return
        _owner.has_told = True
    text = "\n".join(["interrupted", *_owner.last_words])
    if write is not None:
        write(text)
        return
    with suppress(OSError):
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))


def leave(code: int, *, is_told: bool = False) -> None:
    """Run the acts, and end the process without unwinding and without the exit handlers of any library.

    Args:
        code: exit code of the process.
        is_told: the user has been told why; nothing is printed.
    """
    _owner.has_told = _owner.has_told or is_told
    if not _owner.leaving.acquire(blocking=False):
        time.sleep(2 * LAST_ACTS_S)
    limit = threading.Timer(LAST_ACTS_S, os._exit, args=(code,))
    limit.daemon = True
    limit.start()
    tell()
    while _owner.acts:
        with suppress(Exception):
            _owner.acts.pop()()
    os._exit(code)


def _handle(number: int, frame: FrameType | None) -> None:
    del frame
    if not _note(number) and not _owner.is_lost:
        return
    _owner.is_lost = False
    if _owner.defer is not None:
        _owner.defer()
        return
    raise Interrupted(number)


def _raising_again(before: Callable[["sys.UnraisableHookArgs"], object]) -> Callable[["sys.UnraisableHookArgs"], None]:
    """A hook for exceptions that Python ignores: a signal that arrives in a destructor or a weak reference's callback.

    Args:
        before: the hook for all other exceptions.
    """

    def hook(ignored: "sys.UnraisableHookArgs") -> None:
        lost = ignored.exc_value
        if not isinstance(lost, Interrupted):
            before(ignored)
            return
        _owner.is_lost = True
        main = threading.main_thread().ident
        if main is not None:
            again = threading.Timer(AGAIN_S, signal.pthread_kill, args=(main, lost.number))
            again.daemon = True
            again.start()

    return hook


def _note(number: int) -> bool:
    """Record the first signal. Returns whether this is it; True is returned once, to the main thread."""
    if _owner.received is not None:
        return False
    _owner.received, _owner.received_s = number, time.monotonic()
    return True


def _listen(receiver: socket.socket) -> None:
    """Watch the clock from the first signal on; the second one ends the process."""
    first_s, number = 0.0, int(signal.SIGTERM)
    while True:
        try:
            data = receiver.recv(1)
        except TimeoutError:
            break
        if not data:
            return
        if _owner.is_released or data[0] not in _owner.numbers:
            continue
        now = time.monotonic()
        if not first_s:
            first_s, number = now, data[0]
        elif now - first_s > SAME_S:
            break
        receiver.settimeout(max(0.01, GRACE_S - (now - first_s)))
    if _owner.received is None:
        # The main thread has not run since the signal: it is inside a library.
        _owner.received = number
    leave(128 + _owner.received)
