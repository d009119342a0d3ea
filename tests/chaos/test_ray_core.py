"""Ray's core processes die under a search: it ends soon, says so, leaves nothing behind, and is resumed."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lft_ray.processes import this_process
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from tests.chaos.injectors import descendants, gone, kill, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(600)]


def folder_of(pid: int) -> Path:
    """Temporary folder of the cluster that this process has started, from the command line of its raylet."""
    (raylet,) = [child for child in descendants(pid) if child.name() == "raylet"]
    found = re.search(r"(/[^ ]*/lft-ray-[^/ ]+)/", " ".join(raylet.cmdline()))
    assert found is not None, raylet.cmdline()
    folder = Path(found[1])
    assert folder.is_dir()
    return folder


@pytest.mark.parametrize(("name", "words"), [("raylet", "Ray's raylet died"), ("gcs_server", "Ray's GCS died")])
def test_a_search_without_its_core_ends_soon_and_leaves_nothing(tmp_path: Path, name: str, words: str, row):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "tests.search.driver", str(run), "trials=8", "seconds=300"]
    with (tmp_path / "err.txt").open("w") as err:
        process = subprocess.Popen(command, stderr=err)
    try:
        wait_for(lambda: process.poll() is not None or (run / "trials.log").exists(), what="a trial runs")
        assert process.poll() is None, (tmp_path / "err.txt").read_text()
        family = [child.pid for child in descendants(process.pid)]
        folder = folder_of(process.pid)
        kill(process.pid, name)
        began = time.monotonic()
        # 10 s at rest; trials of 300 s would run on, or Ray's C++ code end the process after 60.
        assert process.wait(timeout=55) == 4
        took_s = time.monotonic() - began
    finally:
        process.kill()
        process.wait()
    text = (tmp_path / "err.txt").read_text()
    assert words in text, text
    assert "--resume" in text
    assert took_s < 55
    wait_for(lambda: gone(family), timeout_s=20, what="all processes of the cluster have ended")
    assert not folder.exists()
    assert Ledger(Storage(run)).records() == []
    assert [trial.trial_id for trial in Ledger(Storage(run)).unfinished()] == ["t000", "t001"]
    assert this_process().pid not in family
    with row(f"kill -9 of {name} under a search") as outcome:
        outcome.survive()
    outcome.seconds = took_s
