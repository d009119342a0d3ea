"""The watch over Ray's core, with sleeping processes in their place."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lft_ray.cluster.watch import CoreDiedError, CoreLostError, CoreWatch, when_stuck

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def core(tmp_path):
    """A process of the raylet's name, and a helper that names the cluster's folder in its command line."""
    raylet = tmp_path / "raylet"
    raylet.symlink_to(Path("/bin/sleep"))
    processes = [subprocess.Popen([str(raylet), "60"]), subprocess.Popen([sys.executable, "-c", SLEEP, str(tmp_path)])]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_a_dead_core_wakes_the_main_thread_and_is_named(core, tmp_path):
    removed = []
    watch = CoreWatch(lambda: removed.append(1), str(tmp_path), interval_s=0.05)
    watch.start()
    assert watch.core == {"raylet": core[0].pid}
    watch.raise_if_dead()
    core[0].kill()
    with pytest.raises(CoreDiedError):
        time.sleep(30)
    watch.close()
    with pytest.raises(CoreLostError, match=r"Ray's raylet died \(killed by signal 9") as raised:
        watch.raise_if_dead()
    assert "--resume" in str(raised.value)
    assert raised.value.exit_code == 4
    watch.end_family()
    assert core[1].wait(timeout=30) == -9
    assert removed == []


def test_a_main_thread_that_does_not_come_back_is_ended_after_the_clean_up(core, tmp_path, monkeypatch):
    monkeypatch.setattr("lft_ray.cluster.watch.STUCK_S", 0.1)
    steps = []
    watch = CoreWatch(lambda: steps.append("cleaned"), str(tmp_path), interval_s=0.05)
    with when_stuck(lambda error: steps.append(str(error.exit_code))):
        watch.start()
        core[0].kill()
        with pytest.raises(CoreDiedError):
            time.sleep(30)
        deadline = time.monotonic() + 30
        while len(steps) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert steps == ["cleaned", "4"]
    watch.close()


def test_a_watch_that_was_closed_stays_silent(core, tmp_path):
    watch = CoreWatch(lambda: None, str(tmp_path), interval_s=0.02)
    watch.start()
    watch.close()
    core[0].kill()
    core[0].wait()
    time.sleep(0.2)
    assert watch.failure is None
    assert os.getpid() not in watch._family
