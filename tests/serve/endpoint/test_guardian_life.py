"""A guardian in a process of its own, over a process that stands for the one with Ray: see `fake_child`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from lft_ray.config import ServeSpec
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import haproxy_binary
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.record import make_folder
from lft_ray.serve.waiting import wait_until
from tests.serve.cluster.test_haproxy_launcher import Load

pytestmark = [
    pytest.mark.skipif(haproxy_binary() is None, reason="ray[serve] brings no HAProxy on this platform"),
    pytest.mark.timeout(200),
]
GUARDIAN = """
import sys
from pathlib import Path
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint.guardian import Guardian
request = messages.get(Path(sys.argv[1]), messages.StartRequest)
sys.exit(Guardian(request, program="tests.serve.endpoint.fake_child").run())
"""
PATIENCE_S = 60.0


class Life:
    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run
        request = messages.StartRequest(
            bundle_uri="b",
            spec=ServeSpec(port=0, grpc_port=None),
            site_uri=str(run),
            folder=str(folder),
            log=str(run / "endpoint.log"),
            wait_s=60.0,
        )
        messages.put(folder, request)
        with (run / "endpoint.log").open("wb") as log:
            command = [sys.executable, "-c", GUARDIAN, str(folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.wait("ready")

    def wait(self, state: str) -> Endpoint:
        def found() -> Endpoint | None:
            endpoint = endpoints.read(Storage(self.run))
            return endpoint if endpoint is not None and endpoint.state == state else None

        endpoint = wait_until(found, timeout_s=PATIENCE_S, poll_s=0.02)
        assert endpoint is not None, (self.run / "endpoint.log").read_text()
        return endpoint

    def named(self, *words: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
        return found

    def left(self) -> list[str]:
        found = [str(self.folder)] if self.folder.exists() else []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                found += [" ".join(process.cmdline())] if any(str(self.folder) in w for w in process.cmdline()) else []
        return found


@pytest.fixture
def life(tmp_path, monkeypatch) -> Iterator[Life]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = tmp_path / "run"
    run.mkdir()
    folder = make_folder()
    made = Life(folder, run)
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.process.wait(PATIENCE_S)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize("victim", ["raylet", "gcs_server", "with-ray"])
def test_after_the_death_of_ray_everything_is_started_again_and_the_port_stays_open(life, victim):
    before = life.wait("ready")
    with Load(before.url) as load:
        load.more()
        life.named(str(life.folder), victim)[0].kill()
        recovering = life.wait("recovering")
        load.more()
        after = life.wait("ready")
        load.more()
    assert recovering.message
    assert (after.url, after.pid, after.version) == (before.url, before.pid, "1")
    # What HAProxy had in its hands when the replica died may be cut; a port that is closed would refuse.
    assert not [found for found in load.found if "refused" in str(found)]
    assert {200, 503} <= set(load.found)
    assert load.found[-1] == 200
    assert "is started again, attempt 1 of 5" in (life.run / "endpoint.log").read_text()


def test_a_dead_haproxy_is_replaced_at_once_and_ray_is_left_alone(life):
    url = life.wait("ready").url
    child = life.named("with-ray")[0].pid
    life.named("haproxy.cfg")[0].kill()
    assert wait_until(lambda: life.named("stand-in.cfg"), timeout_s=PATIENCE_S)
    assert wait_until(lambda: answers(url), timeout_s=PATIENCE_S)
    assert life.named("with-ray")[0].pid == child


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/x", timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_haproxy_that_hangs_is_replaced(life):
    url = life.wait("ready").url
    life.named("haproxy.cfg")[0].suspend()
    assert wait_until(lambda: life.named("stand-in.cfg"), timeout_s=PATIENCE_S)
    assert wait_until(lambda: answers(url), timeout_s=PATIENCE_S)
    assert "HAProxy hangs" in (life.run / "endpoint.log").read_text()


def test_a_stop_ends_everything_and_leaves_nothing_also_under_traffic(life):
    url = life.wait("ready").url
    with httpx.Client(timeout=20, trust_env=False) as client:
        assert client.get(f"{url}/x").status_code == 200
        life.process.terminate()
        assert life.process.wait(PATIENCE_S) == 0
    assert life.left() == []
    assert life.wait("stopped").message == ""


def test_a_moved_run_folder_keeps_its_record(life):
    moved = life.run.with_name("moved")
    life.run.rename(moved)
    old, life.run = life.run, moved
    life.named("raylet")[0].kill()
    life.wait("recovering")
    life.wait("ready")  # its next process with Ray writes this
    life.process.terminate()
    life.process.wait(PATIENCE_S)
    life.wait("stopped")
    assert not old.exists()


@pytest.mark.slow
@pytest.mark.chaos
def test_restarts_end_after_five(life):
    for _ in range(6):
        life.wait("ready")
        os.kill(life.named("raylet")[0].pid, signal.SIGKILL)
        if not wait_until(lambda: endpoints.read(Storage(life.run)).state != "ready", timeout_s=PATIENCE_S):
            break
        if endpoints.read(Storage(life.run)).state == "stopped":
            break
    assert life.process.wait(PATIENCE_S) == 1
    # Killed before the guardian's first look at it, the raylet is seen in the end of the process with Ray.
    assert re.search(r"Ray's raylet ended|the process with Ray ended with code", life.wait("stopped").message)
    assert life.left() == []
