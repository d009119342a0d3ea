"""A real ``lft search`` as a process of its own, with a temporary folder of its own, and where it is at the moment.

In: an experiment file. Out: the process, its output so far, and the stage that its files and processes show.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.injectors import descendants, users_of

__all__ = ["Search", "started"]

KEPT = (".lock", ".guard")
"""Endings of hidden files of a run folder that stay on purpose."""


@dataclass
class Search:
    """A search that runs.

    Attributes:
        process: the command.
        run: its run folder.
        temporary: TMPDIR of the command and of all that it starts.
        words: file with its stdout and stderr.
    """

    process: "subprocess.Popen[bytes]"
    run: Path
    temporary: Path
    words: Path

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self.process.poll() is not None

    def said(self) -> str:
        """All output so far."""
        return self.words.read_text(errors="replace")

    def end(self, timeout_s: float) -> int:
        """Wait for the end. Returns the exit code; -9 and a dead process after the time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def settled(self, timeout_s: float) -> list[str]:
        """Wait until nothing is left of a command that has ended. Returns what is left after the time."""
        deadline = time.monotonic() + timeout_s
        while (found := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _left(self) -> list[str]:
        hidden = [path for path in self.run.rglob(".*") if path.is_file() and path.suffix not in KEPT]
        lock = [path for path in (self.run / "driver.lock",) if path.exists()]
        words = [f"{process.pid} {' '.join(_words(process))[:120]}" for process in users_of(self.temporary)]
        return [*words, *map(str, [*self.temporary.iterdir(), *hidden, *lock])]

    # ------------------------------------------------------------ where it is

    def has(self, name: str) -> bool:
        """Whether a descendant of this name runs."""
        for process in descendants(self.process.pid):
            with suppress(psutil.Error):
                if process.name() == name:
                    return True
        return False

    def at(self, pattern: str) -> bool:
        """Whether a file of the run matches."""
        return next(self.run.glob(pattern), None) is not None

    def runs_trial(self, kind: str) -> bool:
        """Whether a trial of this kind (``t``, ``c``) has started, and has no record yet."""
        folders = [path.parent for path in self.run.glob(f"trials/{kind}*/started.json")]
        return any(not (folder / "record.json").exists() for folder in folders)

    def has_done(self, stage: str) -> bool:
        """Whether ``stages.json`` has the seconds of a stage."""
        try:
            return stage in json.loads((self.run / "stages.json").read_bytes())
        except (OSError, ValueError):
            return False

    def wait_until(self, reached: Callable[["Search"], bool], timeout_s: float, *, every_s: float = 0.005) -> bool:
        """Wait for a place in the search. Returns whether it was reached before the command ended."""
        deadline = time.monotonic() + timeout_s
        while not reached(self):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"not reached in {timeout_s:g} s:\n{self.said()[-2000:]}"
            time.sleep(every_s)
        return True


@contextmanager
def started(experiment: Path, run: Path, temporary: Path, *options: str) -> Iterator[Search]:
    """``lft search EXPERIMENT``, killed with all that it has started at the end of the block."""
    words = experiment.with_name(f"said-{time.monotonic_ns()}.txt")
    command = [sys.executable, "-m", "lft_ray", "search", str(experiment), *options]
    with words.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "200"},
            preexec_fn=_default_signals,
        )
    search = Search(process, run, temporary, words)
    try:
        yield search
    finally:
        process.kill()
        process.wait()
        for other in users_of(temporary):
            with suppress(psutil.Error):
                other.kill()


def _default_signals() -> None:
    """A test in the background of a shell has SIGINT ignored, and so would the command."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
