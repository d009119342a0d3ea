"""Kills and stops the processes of a live endpoint, one after the other, under traffic."""

import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from lft_ray.config import ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.serve.cluster.environment import haproxy_binary
from lft_ray.serve.endpoint.bundle_copies import store_of
from lft_ray.serve.endpoint.deploy import deploy, down, rollback
from tests.chaos.endpoint_faults import Clients, hit, litter, processes, recorded, wait_for
from tests.chaos.injectors import gone
from tests.serve.conftest import bundles as bundles

pytestmark = [
    pytest.mark.stress,
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(haproxy_binary() is None, reason="the stand-in is a HAProxy"),
]
RECOVERED_S = 150.0
"""Bound on a busy machine. Alone on two cores Ray is back after 15 s, and HAProxy after one."""


@pytest.fixture(scope="class")
def run(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("chaos") / "run"


@pytest.fixture(scope="class")
def live(run, bundles):
    endpoint = deploy(run, bundles["first"], ServeSpec(port=0, grpc_port=0), wait_s=200)
    yield endpoint
    for place in (run, run.with_name("moved")):
        if place.is_dir():
            down(place)
    assert litter(endpoint) == []


def is_calm(endpoint) -> bool:
    """Whether Serve's own HAProxy and manager are back."""
    return bool(processes(endpoint, "haproxy") and processes(endpoint, "manager")) and not processes(
        endpoint, "stand-in"
    )


def lost(clients: Clients) -> int:
    """Requests that got neither a result nor a reason to ask again: all but 200, 503, and a cut connection."""
    return sum(answer.status not in (0, 200, 503) for answer in clients.answers)


def calm(endpoint) -> None:
    wait_for(lambda: is_calm(endpoint), 120, "Serve's own HAProxy does not come back")


class TestDeaths:
    @pytest.mark.parametrize("kind", ["haproxy", "manager"])
    def test_a_death_in_front_of_the_replicas_is_over_within_seconds(self, live, run, kind, row):
        calm(live)
        with row(f"kill -9 of the {kind} of an endpoint") as outcome:
            with Clients(live.url) as clients:
                at = time.monotonic()
                hit(live, kind)
                time.sleep(1.0)
                clients.back(at + 1.0, RECOVERED_S)
                calm(live)
            outcome.survive(lost=lost(clients))
        outcome.seconds = clients.outage_s(at)
        outcome.note = str(dict(clients.statuses()))
        assert clients.outage_s(at) < 15
        assert set(clients.statuses()) <= {0, 200}
        assert recorded(run).state == "ready"

    def test_a_promotion_before_the_faults(self, live, run, bundles):
        assert deploy(run, bundles["second"], ServeSpec(), wait_s=100).state == "ready"

    @pytest.mark.parametrize("kind", ["raylet", "gcs", "agent", "child"])
    def test_ray_comes_back_with_the_same_port_version_and_way_back(self, live, run, bundles, kind, row):
        calm(live)
        with row(f"kill -9 of the {kind} of an endpoint") as outcome:
            with Clients(live.url) as clients:
                at = time.monotonic()
                hit(live, kind)
                wait_for(lambda: recorded(run).state == "recovering", 30, "not recovering")
                refused = httpx.get(f"{live.url}/ready", timeout=10)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                wait_for(lambda: recorded(run).state == "ready", RECOVERED_S)
                clients.back(at + 1.0, RECOVERED_S)
            outcome.survive(lost=lost(clients))
        outcome.seconds = clients.outage_s(at)
        outcome.note = str(dict(clients.statuses()))
        found = recorded(run)
        assert (found.url, found.version, found.pid) == (live.url, bundles["second"].version, live.pid)
        assert found.previous_version == bundles["first"].version
        assert set(clients.statuses()) <= {0, 200, 503}, "a client must never be told that there is nothing here"
        cut = [answer for answer in clients.answers if answer.status == 0]
        refused = [answer.sent_at for answer in cut if "refused" in answer.detail]
        # A raylet without its agent ends HAProxy at once: a stand-in takes the port at the next look.
        assert not refused or (kind == "agent" and refused[-1] - refused[0] < 5.0), "the port stays open"

    def test_rollback_after_restarts(self, live, run, bundles):
        calm(live)
        assert rollback(run, wait_s=100).version == bundles["first"].version


class TestHangsFilesAndTheEnd:
    def test_a_replica_that_hangs_is_replaced(self, live, row):
        calm(live)
        with row("SIGSTOP of the only replica") as outcome:
            with Clients(live.url, count=1) as clients:
                at = time.monotonic()
                pid = hit(live, "replica", signal.SIGSTOP)
                assert httpx.get(f"{live.url}/health", timeout=5).status_code in (200, 503)
                wait_for(lambda: not psutil.pid_exists(pid), RECOVERED_S, "the replica still hangs")
                clients.back(time.monotonic(), RECOVERED_S)
            outcome.survive(lost=lost(clients))
        outcome.seconds = clients.outage_s(at)
        outcome.note = str(dict(clients.statuses()))
        assert clients.longest_s() < 70

    def test_a_bundle_copy_that_is_cleaned_away_comes_back(self, live, run, row):
        calm(live)
        copies = store_of(Path(live.folder))
        assert [path for path in copies.rglob("*") if path.is_file()]
        with row("bundle copies of an endpoint removed, and its replica killed") as outcome:
            shutil.rmtree(copies)
            at = time.monotonic()
            hit(live, "replica")
            with Clients(live.url, count=1) as clients:
                clients.back(at, RECOVERED_S)
            outcome.survive(lost=lost(clients))
        assert "copied again" in (run / "endpoint.log").read_text()

    def test_a_run_folder_that_moves_is_not_made_anew(self, live, run, row):
        moved = run.with_name("moved")
        with row("run folder moved while it is served, then Ray killed") as outcome:
            run.rename(moved)
            hit(live, "child")
            wait_for(lambda: recorded(moved).state == "recovering", 30)
            wait_for(lambda: recorded(moved).state == "ready", RECOVERED_S)
            outcome.survive(left=int(run.exists()))
        assert not run.exists()

    def test_down_under_traffic_loses_no_request_and_leaves_nothing(self, live, run, row):
        pids = {str(process.pid) for process in processes(live)}
        with row("down under the traffic of four keep-alive clients") as outcome:
            with Clients(live.url, count=4, keep_alive=True) as clients:
                down(run.with_name("moved"))
            cut = [answer for answer in clients.answers if answer.status == 0 and "refused" not in answer.detail]
            sessions = [path.name.rpartition("_")[2] for path in Path("/tmp/ray").glob("session_*")]
            left = [*litter(live), *(pid for pid in sessions if pid in pids)]
            outcome.survive(lost=len(cut), left=len(left))
        assert cut == []
        assert set(clients.statuses()) == {0, 200}
        assert left == []


def test_a_killed_supervisor_takes_everything_along_and_a_deploy_cleans_what_both_left(bundles, tmp_path, row):
    spec = ServeSpec(port=0)
    first = deploy(tmp_path, bundles["first"], spec, wait_s=200)
    everything = processes(first)
    with row("kill -9 of the supervisor of an endpoint") as outcome:
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: not litter(first), 60, "the child did not clean")
        _, alive = psutil.wait_procs(everything, timeout=30)
        outcome.survive(left=len(alive))
    assert alive == []
    assert recorded(tmp_path).state == "stopped"

    second = deploy(tmp_path, bundles["first"], spec, wait_s=200)
    everything = processes(second)
    child = processes(second, "child")[0]
    child.suspend()  # as if both were killed by the kernel at once
    os.kill(second.pid, signal.SIGKILL)
    child.kill()
    wait_for(lambda: gone([child.pid, second.pid]), 30, "they outlive a kill")
    third = deploy(tmp_path, bundles["first"], spec, wait_s=200)
    try:
        assert litter(second) == []
        assert not [process for process in everything if process.is_running()]
    finally:
        down(tmp_path)
    assert litter(third) == []


def test_health_probes_do_not_wake_an_endpoint_that_sleeps(bundles, tmp_path):
    elastic = AutoscalingSpec(min_replicas=0, max_replicas=1, downscale_delay_s=3.0)
    endpoint = deploy(tmp_path, bundles["first"], ServeSpec(port=0, autoscaling=elastic), wait_s=200)
    try:
        wait_for(lambda: not processes(endpoint, "replica"), 120, "the endpoint does not fall asleep")
        wait_for(lambda: httpx.get(f"{endpoint.url}/ready").json() == {"status": "scaled_to_zero"}, 30)
        for path in ("/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready") * 4:
            assert httpx.get(f"{endpoint.url}{path}", timeout=5).status_code == 200
        time.sleep(5)
        assert not processes(endpoint, "replica")
        answer = httpx.post(endpoint.url, json={"inputs": "the bank makes profit"}, timeout=60)
        assert answer.status_code == 200
    finally:
        down(tmp_path)
