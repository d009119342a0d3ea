"""The table of a chaos run: each test adds a row, pytest prints all of them at the end (``make chaos``)."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

HEADER = "| fault | injected | survived | lost | left behind | seconds | responses |\n|---|---|---|---|---|---|---|"


@dataclass
class Row:
    """Faults of one kind, and what became of them."""

    fault: str
    injected: int = 0
    survived: int = 0
    lost: int = 0
    """Finished trials or answered requests that are gone or differ."""
    left: int = 0
    """Processes, folders and files that nobody removed."""
    seconds: float = field(default=0.0)
    """Until all was well again, or of the whole test."""
    note: str = ""
    """Responses to clients by status; 0: the connection was cut or refused."""

    def survive(self, *, lost: int = 0, left: int = 0) -> None:
        """Count one fault that was injected, and what it cost."""
        self.injected += 1
        self.lost += lost
        self.left += left
        self.survived += not (lost or left)

    def __str__(self) -> str:
        cells = (self.fault, self.injected, self.survived, self.lost, self.left, f"{self.seconds:.1f}", self.note)
        return f"| {' | '.join(map(str, cells))} |"


_rows: list[Row] = []


@pytest.fixture
def row():
    """A context that measures the seconds of its block and adds the row to the table."""

    @contextmanager
    def measured(fault: str) -> Iterator[Row]:
        found, began = Row(fault), time.monotonic()
        try:
            yield found
        finally:
            found.seconds = found.seconds or time.monotonic() - began
            _rows.append(found)

    return measured


@pytest.fixture
def rounds():
    """How many faults to inject: the short number, or the full one with ``CHAOS=full`` (``make chaos``)."""
    return lambda full, short=3: full if os.environ.get("CHAOS") == "full" else min(short, full)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _rows:
        terminalreporter.section("chaos")
        terminalreporter.write_line("\n".join([HEADER, *map(str, _rows)]))
