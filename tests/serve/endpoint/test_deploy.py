"""A real endpoint from start to end: Ray, Serve, HAProxy, the supervisor, and the clients that people use."""

import asyncio
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest

from lft_ray.client import Client
from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.errors import BundleError, InputError, LftError
from lft_ray.processes import identity_of
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.deploy import deploy, down, rollback
from lft_ray.serve.loadgen import closed_loop, text_bodies

SPEC = ServeSpec(port=0, grpc_port=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def live(run, bundles):
    endpoint = deploy(run, bundles["first"], SPEC, wait_s=200)
    tree = psutil.Process(endpoint.pid).children(recursive=True)
    yield endpoint
    down(run)
    assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def damaged(bundle_uri: str, folder: Path) -> str:
    shutil.copytree(bundle_uri, folder)
    weights = folder / "linear.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    return str(folder)


def public_listeners(pid: int) -> list[tuple[str, int]]:
    """Every process below ``pid`` that listens on more than loopback, with the port."""
    supervisor = psutil.Process(pid)
    return [
        (process.name(), connection.laddr.port)
        for process in [supervisor, *supervisor.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and not ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:")).is_loopback
    ]


def own_addresses() -> list[str]:
    found = (one for addresses in psutil.net_if_addrs().values() for one in addresses)
    return [one.address for one in found if one.family == socket.AF_INET]


class Load:
    """Sends requests without a pause until the end of the block, and records every response."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as http:
            while not self._stop.is_set():
                response = http.post(self.url, json={"inputs": "the bank makes profit"})
                self.answers.append((response.status_code, response.headers.get("x-model-version", "")))

    def __enter__(self) -> "Load":
        self._thread.start()
        self._more()
        return self

    def __exit__(self, *_: object) -> None:
        self._more()
        self._stop.set()
        self._thread.join()

    def _more(self, count: int = 20) -> None:
        """Wait for ``count`` more responses: a fixed pause may see none on a busy machine."""
        wanted = len(self.answers) + count
        while len(self.answers) < wanted and self._thread.is_alive():
            time.sleep(0.01)


# ---------------------------------------------------------------- one endpoint's life, in order


@pytest.mark.cluster
@pytest.mark.timeout(600)
class TestLife:
    def test_a_deployed_endpoint_is_ready_and_recorded(self, live, run, bundles):
        written = Endpoint.model_validate_json((run / "endpoint.json").read_text())
        assert written == live
        assert (live.state, live.version) == ("ready", bundles["first"].version)
        assert endpoints.is_alive(live)
        assert httpx.get(f"{live.url}/ready").json() == {"status": "ready", "version": live.version}

    def test_haproxy_hands_requests_straight_to_the_replica(self, live):
        headers = httpx.get(f"{live.url}/info").headers
        assert headers.get_list("x-request-id", split_commas=True) != []
        assert len(headers.get_list("x-request-id")) == 1
        assert len(headers.get_list("x-model-version")) == 1

    def test_public_listeners_are_the_documented_ones_and_reject_other_machines(self, live):
        found = public_listeners(live.pid)
        assert Counter(name for name, _ in found) == {"ray::ServeReplica:lft:model": 2, "ray::ProxyActor": 1}
        address = next((ip for ip in own_addresses() if not ip.startswith("127.")), None)
        if address is None:
            pytest.skip("this machine has no address but loopback to knock from")
        for _, port in found:
            with grpc.insecure_channel(f"{address}:{port}") as channel:
                for method in ("inference.GRPCInferenceService/ServerLive", "ray.serve.ASGIService/HandleRequest"):
                    with pytest.raises(grpc.RpcError) as raised:
                        channel.unary_unary(f"/{method}")(b"", timeout=20)
                    assert raised.value.code().name in ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED")

    def test_tritons_client_speaks_grpc_through_haproxy(self, live):
        from tritonclient import grpc as triton
        from tritonclient.utils import InferenceServerException

        text = triton.InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array(["the bank makes profit", "a distant planet"], dtype=object))
        large = triton.InferInput("text", [1], "BYTES")
        large.set_data_from_numpy(np.array(["a" * 5_000_000], dtype=object))
        with triton.InferenceServerClient(f"127.0.0.1:{live.ports['grpc']}") as client:
            assert client.is_server_ready()
            result = client.infer("classifier", [text])
            assert list(result.as_numpy("label")) == [b"business", b"science"]
            assert result.get_response().model_version == live.version
            for name, tensor, code in (("other", text, "NOT_FOUND"), ("classifier", large, "RESOURCE_EXHAUSTED")):
                with pytest.raises(InferenceServerException, match=code):
                    client.infer(name, [tensor])

    def test_our_client_and_hugging_faces_agree(self, live, monkeypatch):
        from huggingface_hub import InferenceClient

        # The tests run with the hub switched off, and its client then refuses every address, this machine's too.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

        texts = ["the bank makes profit", "a distant planet"] * 100
        with Client(live.url) as client:
            assert client.health()
            answers = client.predict(texts)
            info = client.info()
        assert info.version == live.version
        assert [scores[0].label for scores in answers] == ["business", "science"] * 100
        theirs = InferenceClient(model=live.url).text_classification(texts[0])
        assert {e.label: e.score for e in theirs} == pytest.approx({s.label: s.score for s in answers[0]})

    def test_bad_input_is_4xx_through_every_layer(self, live):
        json = {"content-type": "application/json"}
        cases = [
            (b"{", json, 400),
            (b'{"inputs": NaN}', json, 422),
            (b'{"inputs": "' + b"a" * 2_000_000 + b'"}', json, 413),
            (b"{}", {"content-type": "text/plain"}, 415),
        ]
        for body, headers, status in cases:
            assert httpx.post(live.url, content=body, headers=headers).status_code == status
        bad_id = httpx.get(f"{live.url}/health", headers={"x-request-id": b"\xff\xfe"})
        assert bad_id.status_code == 200
        assert httpx.get(f"{live.url}/nowhere").json()["error_type"] == "not_found"
        assert httpx.request("PUT", live.url).status_code == 405

    def test_a_good_bundle_is_promoted_without_a_lost_request(self, live, run, bundles):
        begun = time.monotonic()
        with Load(live.url) as load:
            promoted = deploy(run, bundles["second"], ServeSpec(), wait_s=60)
        print(f"promotion took {time.monotonic() - begun:.1f} s, {len(load.answers)} answers")
        assert (promoted.state, promoted.version) == ("ready", bundles["second"].version)
        assert promoted.previous_version == bundles["first"].version
        assert (promoted.pid, promoted.url) == (live.pid, live.url)
        assert {status for status, _ in load.answers} == {200}
        versions = [version for _, version in load.answers]
        assert versions == sorted(versions, key=[bundles["first"].version, bundles["second"].version].index)
        assert set(versions) == {bundles["first"].version, bundles["second"].version}

    def test_a_damaged_bundle_is_rejected_and_the_old_one_serves_on(self, live, run, bundles, tmp_path):
        with Load(live.url) as load:
            rejected = deploy(run, damaged(bundles["first"].uri, tmp_path / "bad"), SPEC, wait_s=60)
        assert rejected.state == "rejected"
        assert "linear.safetensors" in rejected.message
        assert set(load.answers) == {(200, bundles["second"].version)}
        written = Endpoint.model_validate_json((run / "endpoint.json").read_text())
        assert (written.state, written.version) == ("ready", bundles["second"].version)

    def test_a_bundle_that_is_not_there_is_rejected(self, live, run, tmp_path):
        assert deploy(run, str(tmp_path / "none"), SPEC, wait_s=60).state == "rejected"

    def test_rollback_returns_to_the_previous_bundle(self, live, run, bundles):
        back = rollback(run, wait_s=60)
        assert (back.state, back.version) == ("ready", bundles["first"].version)
        assert back.bundle_uri == bundles["first"].uri
        assert back.message == f"rolled back from {bundles['second'].version} to {back.version}"
        assert rollback(run, wait_s=60).state == "rejected", "never forward again"
        with Client(live.url) as client:
            assert client.info().version == bundles["first"].version

    def test_a_canary_takes_a_share_and_then_all_of_the_traffic(self, live, run, bundles):
        rules = RolloutSpec(canary_share=0.5, canary_minutes=0.05)
        with Load(live.url) as load:
            begun = deploy(run, bundles["second"], ServeSpec(rollout=rules), wait_s=60)
            assert begun.has_canary
            assert (begun.version, begun.canary.version) == (bundles["first"].version, bundles["second"].version)
            ended = wait_until(lambda: endpoints.read(Storage(run)), lambda found: not found.has_canary, seconds=120)
        assert (ended.version, ended.canary.note) == (bundles["second"].version, "promoted")
        assert ended.previous_version == bundles["first"].version
        assert min(ended.canary.requests, ended.canary.current_requests) >= 50
        assert {status for status, _ in load.answers} == {200}
        assert httpx.get(f"{live.url}/info").json()["canary"] is None

    def test_a_canary_is_ended_by_hand(self, live, run, bundles):
        rules = RolloutSpec(canary_share=0.5, canary_minutes=60)
        deploy(run, bundles["first"], ServeSpec(rollout=rules), wait_s=60)
        assert httpx.get(f"{live.url}/info").json()["canary"]["version"] == bundles["first"].version
        ended = rollback(run, wait_s=60)
        assert (ended.state, "was ended" in ended.message) == ("ready", True)
        assert ended.canary.note == "it was rolled back by hand"
        assert not endpoints.read(Storage(run)).has_canary
        assert {httpx.post(live.url, json={"inputs": "goal"}).headers["x-model-version"] for _ in range(10)} == {
            bundles["second"].version
        }

    def test_a_second_endpoint_on_the_same_port_is_refused(self, live, tmp_path, bundles):
        with pytest.raises(InputError, match=r"serve\.port=0"):
            deploy(tmp_path, bundles["first"], ServeSpec(port=live.ports["http"]))

    def test_down_ends_every_process_and_removes_its_folder(self, live, run):
        tree = psutil.Process(live.pid).children(recursive=True)
        assert {"raylet", "gcs_server", "haproxy"} <= {process.name() for process in tree}
        stopped = down(run)
        assert stopped is not None
        assert stopped.state == "stopped"
        assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert not Path(live.folder).exists()
        with pytest.raises(httpx.ConnectError):
            httpx.get(live.url)
        assert down(run) is None


# ---------------------------------------------------------------- failures


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.chaos
@pytest.mark.slow
def test_a_killed_replica_costs_what_was_in_flight_on_it_and_our_clients_nothing(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("LFT_API_KEYS", "canary-key")
    two = min(2, os.cpu_count() or 1)
    spec = ServeSpec(port=0, autoscaling=AutoscalingSpec(min_replicas=two, max_replicas=two))
    endpoint = deploy(tmp_path, bundles["first"], spec, wait_s=200)
    tree = psutil.Process(endpoint.pid).children(recursive=True)
    replicas = [p for p in tree if "ServeReplica" in " ".join(p.cmdline())]
    assert len(replicas) == two
    assert httpx.get(f"{endpoint.url}/info").status_code == 401
    assert not [p for p in tree if "canary-key" in " ".join(p.cmdline())]
    nices = {replica.nice() for replica in replicas}
    assert nices == {psutil.Process().nice()}, "a replica must not run at the niceness of batch work"

    headers = {"authorization": "Bearer canary-key"}
    load = closed_loop(endpoint.url, text_bodies(["goal"]), connections=IN_FLIGHT, seconds=6.0, headers=headers)
    killed = threading.Timer(2.0, replicas[0].kill)
    with Client(endpoint.url, api_key="canary-key", retries=4 if two == 2 else 20) as client:
        asking = Asking(client)
        with asking:
            killed.start()
            result = asyncio.run(load)
        killed.join()
    print(f"{result.statuses} without tries, {asking.answers} answers of our client")
    assert result.ok > 0
    if two == 2:
        assert result.failed <= IN_FLIGHT, result.statuses
    assert asking.failures == []
    assert asking.answers > 0

    kill_supervisor(endpoint, tree, tmp_path)


IN_FLIGHT = 8


class Asking:
    """Predicts one text after the other in a thread until the end of the block."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answers = 0
        self.failures: list[Exception] = []
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._left.is_set():
            try:
                assert self.client.predict(["goal"])[0][0].label == "sport"
                self.answers += 1
            except (AssertionError, LftError) as error:
                self.failures.append(error)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()


def kill_supervisor(endpoint: Endpoint, tree: list[psutil.Process], run: Path) -> None:
    """What a killed supervisor leaves behind goes with the next ``lft down``."""
    os.kill(endpoint.pid, signal.SIGKILL)
    psutil.wait_procs([p for p in tree if p.is_running() and p.name() == "raylet"], timeout=20)
    assert down(run) is None
    assert endpoints.read(Storage(run)).state == "stopped"
    _, alive = psutil.wait_procs([p for p in tree if p.is_running()], timeout=20)
    assert alive == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint.url)


FOREGROUND = """
import signal
# A shell that starts the tests in its background has it ignored, here too.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.serve.endpoint.deploy import deploy
print(deploy(sys.argv[1], sys.argv[2], ServeSpec(port=0), foreground=True).state)
"""


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_deploy_in_the_foreground_stays_until_it_is_interrupted(bundles, tmp_path):
    command = [sys.executable, "-c", FOREGROUND, str(tmp_path), bundles["first"].uri]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        endpoint = wait_ready(tmp_path, process, seconds=200)
        assert httpx.get(f"{endpoint.url}/ready").status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        try:
            out, error = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            down(tmp_path)  # its supervisor would serve on, beside every test after this one
            raise
    assert (process.returncode, out) == (0, "stopped\n"), error
    assert "ready at" in error
    assert not endpoints.is_alive(endpoint)


def wait_until(ask, is_so, seconds: float):
    deadline = time.monotonic() + seconds
    while not is_so(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def wait_ready(run: Path, process: subprocess.Popen, seconds: float) -> Endpoint:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        endpoint = endpoints.read(Storage(run))
        if endpoint is not None and endpoint.state == "ready":
            return endpoint
        time.sleep(0.2)
    raise AssertionError("the endpoint was not ready in time")


# ---------------------------------------------------------------- refusals, without a cluster


def test_a_damaged_bundle_is_refused_before_anything_starts(bundles, tmp_path):
    with pytest.raises(BundleError):
        deploy(tmp_path / "run", damaged(bundles["first"].uri, tmp_path / "bad"), SPEC)
    assert not (tmp_path / "run").exists()


def test_a_busy_port_is_refused_with_the_fix(bundles, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match=r"serve\.port=0"):
            deploy(tmp_path, bundles["first"], ServeSpec(port=other.getsockname()[1]))


def test_a_public_address_needs_keys(bundles, tmp_path, monkeypatch):
    monkeypatch.delenv("LFT_API_KEYS", raising=False)
    with pytest.raises(InputError, match="LFT_API_KEYS") as raised:
        deploy(tmp_path, bundles["first"], ServeSpec(host="0.0.0.0", port=0))
    assert raised.value.exit_code == 2


def test_more_cores_than_there_are_is_refused(bundles, tmp_path):
    with pytest.raises(InputError, match="cpus_per_replica"):
        deploy(tmp_path, bundles["first"], ServeSpec(port=0, cpus_per_replica=4096))


def test_a_canary_needs_a_live_endpoint_to_compare_with(bundles, tmp_path):
    with pytest.raises(InputError, match="without --canary"):
        deploy(tmp_path, bundles["first"], ServeSpec(rollout=RolloutSpec(canary_share=0.1)))


def test_nothing_to_stop_or_to_roll_back(tmp_path):
    assert down(tmp_path) is None
    with pytest.raises(InputError, match="no live endpoint"):
        rollback(tmp_path)


def test_an_endpoint_file_of_another_version_is_refused_by_name(bundles, tmp_path):
    (tmp_path / "endpoint.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1, "pid_started_at": 2.0}')
    for call in (lambda: deploy(tmp_path, bundles["first"], SPEC), lambda: down(tmp_path), lambda: rollback(tmp_path)):
        with pytest.raises(InputError, match=r"endpoint\.json cannot be read"):
            call()


def test_a_process_with_a_reused_pid_is_not_signalled(tmp_path):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = identity_of(sleeper.pid)
    try:
        dead = Endpoint(
            url="http://127.0.0.1:1",
            version="v",
            process=identity.model_copy(update={"start_ticks": identity.start_ticks - 1}),
            ports={},
            state="ready",
            bundle_uri="",
            folder=str(tmp_path / "folder"),
        )
        endpoints.write(Storage(tmp_path), dead)
        assert down(tmp_path) is None
        assert sleeper.poll() is None
        assert endpoints.read(Storage(tmp_path)).state == "stopped"
    finally:
        os.kill(sleeper.pid, signal.SIGKILL)
        sleeper.wait()
