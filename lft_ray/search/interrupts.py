"""Ctrl-C and SIGTERM during a study: end between two steps of Tune's loop, never inside a hook.

Running trials are left without a record on purpose: resume continues them from their training state. A second signal
has Python's own effect, at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupt", "catch_interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether the user asked to end."""

    def __init__(self) -> None:
        self.is_set = False

    def raise_if_set(self) -> None:
        """Raise KeyboardInterrupt once asked to end. It passes Tune, which catches only `Exception`."""
        if self.is_set:
            raise KeyboardInterrupt


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Note the first signal instead of raising; does nothing outside the main thread, where Python has no handlers."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        interrupt.is_set = True
        restore()

    for number in SIGNALS:
        before[number] = signal.signal(number, note)
    try:
        yield interrupt
    finally:
        restore()
