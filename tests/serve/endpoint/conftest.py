"""Endpoints with a supervisor that starts no Ray, so that every command can meet every state in a second."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lft_ray.processes import alive
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import deploy as deploying
from lft_ray.serve.endpoint.locks import served_last
from tests.serve.endpoint.fake import MODE


class FakeRuns:
    """Run folders whose endpoints are fakes; ends those that a test leaves behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mode_file = folder / "mode"
        self.known: list[Path] = []

    def new(self, name: str = "run") -> Path:
        """A run folder."""
        path = self.folder / name
        path.mkdir()
        self.known.append(path)
        return path

    def mode(self, text: str) -> None:
        """What all fakes do from now on."""
        self.mode_file.write_text(text)

    def end(self) -> None:
        """Kill the fakes that still live."""
        for path in (*self.known, *self.folder.glob("*/")):
            holder = served_last(Storage(path))
            if holder is not None and holder.process is not None and alive(holder.process):
                with suppress(ProcessLookupError):
                    os.kill(holder.process.pid, signal.SIGKILL)


@pytest.fixture
def fakes(tmp_path, monkeypatch) -> Iterator[FakeRuns]:
    made = FakeRuns(tmp_path / "runs")
    made.folder.mkdir(exist_ok=True)
    monkeypatch.setattr(deploying, "SUPERVISOR", "tests.serve.endpoint.fake")
    monkeypatch.setenv(MODE, str(made.mode_file))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield made
    made.end()
