"""The corrected configuration, run by the real HAProxy in front of a replica that is a few lines of Python."""

import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from lft_ray.serve.cluster import front, haproxy
from lft_ray.serve.cluster.environment import free_port, haproxy_binary
from lft_ray.serve.cluster.front import Front
from lft_ray.serve.cluster.haproxy_launcher import Launch, adapt
from lft_ray.serve.endpoint.record import make_folder
from lft_ray.serve.http.errors import REQUEST_ID_PATTERN
from lft_ray.serve.waiting import wait_until

pytestmark = pytest.mark.skipif(haproxy_binary() is None, reason="ray[serve] brings no HAProxy on this platform")

# The parts of Serve's configuration that are corrected, with one application.
SERVE = """global
    log 127.0.0.1:514 local0 info
    stats socket {folder}/node/admin.sock mode 600 level admin expose-fd listeners
    nbthread 1
    tune.bufsize 32768
defaults
    mode http
    option log-health-checks
    timeout connect 5s
    timeout client 120s
    timeout server 65s
    log global
    option httplog
    option idle-close-on-response
    errorfile 503 {folder}/500.http
frontend prometheus
    bind :{metrics}
    mode http
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "routes" if {{ path /-/routes }}
    acl is_http-lft path_beg /
{use}    default_backend default_backend
frontend grpc_frontend
    bind 127.0.0.1:{grpc} proto h2
    acl is_healthz path /ray.serve.RayServeAPIService/Healthz
    http-request return status 200 content-type application/grpc hdr grpc-status 0 if is_healthz
    http-request return status 200 content-type application/grpc hdr grpc-status 9
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
{backend}listen stats
  bind *:{stats}
  stats enable
"""
USE = "    use_backend http-lft if is_http-lft\n"
BACKEND = """backend http-lft
    option httpchk GET /-/healthz
    default-server inter 200ms fastinter 50ms downinter 100ms fall 2 rise 1 check
    server r1 127.0.0.1:{replica} check
"""


class Replica(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.5)
        body = json.dumps({"path": self.path, "id": self.headers["x-request-id"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """HAProxy cuts a health check off once it has seen the status."""


class Proxy:
    """A folder of an endpoint, and what is started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "node").mkdir()
        self.port, self.grpc_port, metrics, stats = (free_port() for _ in range(4))
        self.launch = Launch(haproxy_binary() or "", str(folder), metrics, stats, REQUEST_ID_PATTERN, False)
        self.launcher = front.write_files(folder, self.launch)
        self.front = Front(folder, "127.0.0.1", self.port, None)
        self.replica = Server(("127.0.0.1", 0), Replica)
        threading.Thread(target=self.replica.serve_forever, args=(0.01,), daemon=True).start()
        self.processes: list[subprocess.Popen] = []
        self.url = f"http://127.0.0.1:{self.port}"

    def text(self, kind: str) -> str:
        """Serve's configuration: ``none`` without an application, ``zero`` without a replica, ``one``."""
        backend = "" if kind == "none" else BACKEND.format(replica=self.replica.server_port)
        if kind == "zero":
            backend = backend.rpartition("    server")[0] + "    server SERVE_PROXY_ACTOR-1 127.0.0.1:9 check backup\n"
        names = {"folder": self.folder, "port": self.port, "grpc": self.grpc_port, "backend": backend}
        names["use"] = "" if kind == "none" else USE
        return SERVE.format(metrics=self.launch.metrics_port, stats=self.launch.stats_port, **names)

    def start(self, kind: str, *extra: str) -> subprocess.Popen:
        """Start what Serve would: its configuration by way of the launcher."""
        config = self.folder / "node" / "haproxy.cfg"
        config.write_text(self.text(kind))
        process = subprocess.Popen([self.launcher, "-db", "-dR", "-f", config, *extra], stderr=subprocess.DEVNULL)
        self.processes.append(process)
        sock = self.folder / "node" / "admin.sock"
        assert wait_until(lambda: haproxy.process_id(sock) == process.pid, timeout_s=20)
        return process

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=20, trust_env=False, **options)

    def raw(self, request: bytes) -> tuple[int, dict]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall(request)
            response = b""
            while not response.endswith(b"}") and (chunk := client.recv(65536)):
                response += chunk
        head, _, body = response.partition(b"\r\n\r\n")
        assert body.startswith(b"{"), response
        return int(head.split()[1]), json.loads(body)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.front.stop()
        self.replica.shutdown()
        self.replica.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    folder = make_folder()
    made = Proxy(folder)
    yield made
    made.close()
    subprocess.run(["rm", "-r", str(folder)], check=True)


CLOSE = b"host: a\r\nconnection: close\r\n\r\n"
REFUSED = {
    "method": (b"FOO / HTTP/1.1\r\n" + CLOSE, 405, "method_not_allowed"),
    "lower case": (b"post / HTTP/1.1\r\n" + CLOSE, 405, "method_not_allowed"),
    "star": (b"OPTIONS * HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "Serve's routes": (b"GET /-/routes HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "Serve's health": (b"GET /-/healthz HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "Serve's routes, the mark encoded": (b"GET /%2d/routes HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "Serve's routes, the slash encoded": (b"GET /-%2froutes HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "Serve's routes, all encoded": (b"GET /%2D%2Fr%6futes HTTP/1.1\r\n" + CLOSE, 404, "not_found"),
    "control character": (b"GET / HTTP/1.1\r\nx: a\x01\r\n" + CLOSE, 400, "bad_request"),
    "delete": (b"GET / HTTP/1.1\r\nx: \x7f\r\n" + CLOSE, 400, "bad_request"),
    "version": (b"GET / HTTP/3.7\r\n" + CLOSE, 505, "http_version_not_supported"),
    "no host": (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 400, "bad_request"),
    "websocket": (
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        400,
        "bad_request",
    ),
    "url": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + CLOSE, 414, "request_uri_too_long"),
    "headers": (b"GET / HTTP/1.1\r\nx: " + b"a" * 20000 + b"\r\n" + CLOSE, 431, "request_header_fields_too_large"),
}


def test_haproxys_own_refusals_have_the_one_shape_of_errors(proxy):
    proxy.start("one")
    for name, (request, status, kind) in REFUSED.items():
        got, body = proxy.raw(request)
        assert (got, body["error_type"]) == (status, kind), name
        assert body["error"], name
        assert len(body["request_id"]) == 36, name
    assert proxy.raw(b"GET /x HTTP/1.0\r\n\r\n")[0] == 200, "HTTP/1.0 has no header host"
    assert proxy.raw(b"GET /x HTTP/1.2\r\n" + CLOSE)[0] == 200, "a later minor version is the same protocol"
    for usual in (b"x: a\tb\r\n", b"x: \xc3\xa4\xff\r\n", b"x:\r\n", b"x: x01 \\x7f\r\n"):
        assert proxy.raw(b"GET /x HTTP/1.1\r\n" + usual + CLOSE)[0] == 200, usual
    twice = b"GET /x HTTP/1.1\r\nx-request-id: aa\r\nx-request-id: bb\r\n" + CLOSE
    assert proxy.raw(twice)[1]["id"] == "aa"
    upgrade = {"upgrade": "h2c", "connection": "upgrade"}
    assert proxy.get("/x", headers=upgrade).status_code == 200, "an offer of HTTP/2 may be ignored"


def test_serves_own_methods_are_not_found_and_all_others_pass(proxy):
    proxy.start("one")
    statuses = {
        "ray.serve.RayServeAPIService/ListApplications": grpc.StatusCode.UNIMPLEMENTED,
        "ray.serve.RayServeAPIService/Healthz": grpc.StatusCode.UNIMPLEMENTED,
        "%72ay.serve.RayServeAPIService/ListApplications": grpc.StatusCode.UNIMPLEMENTED,
        "inference.GRPCInferenceService/ServerLive": grpc.StatusCode.FAILED_PRECONDITION,
    }
    with grpc.insecure_channel(f"127.0.0.1:{proxy.grpc_port}") as channel:
        for method, status in statuses.items():
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(f"/{method}", bytes, bytes)(b"", timeout=20)
            assert raised.value.code() == status, method


def test_probes_are_answered_without_a_replica_and_at_once(proxy):
    proxy.start("one")
    assert proxy.get("/health").json() == {"status": "live"}
    assert proxy.get("/v2/health/live").json() == {"live": True}
    assert proxy.get("/ready").json()["path"] == "/ready", "a replica that is up answers itself"
    proxy.replica.shutdown()
    proxy.replica.server_close()
    assert wait_until(lambda: proxy.get("/health").status_code == 503, timeout_s=10)
    for path in ("/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"):
        response = proxy.get(path, headers={"x-request-id": "mine"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json() == {
            "error": "no replica is available",
            "error_type": "service_unavailable",
            "request_id": "mine",
        }


@pytest.mark.parametrize("asleep", [False, True])
def test_an_endpoint_without_a_replica_is_asleep_only_if_it_may_scale_to_zero(proxy, asleep):
    proxy.launcher = front.write_files(proxy.folder, proxy.launch._replace(scales_to_zero=asleep))
    proxy.start("zero")
    found = {path: proxy.get(path) for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready")}
    assert {response.status_code for response in found.values()} == {200 if asleep else 503}
    if asleep:
        assert found["/ready"].json() == {"status": "scaled_to_zero"}
        assert found["/v2/health/ready"].json() == {"ready": True}


def test_without_an_application_clients_are_told_to_come_back(proxy):
    proxy.start("none")
    response = proxy.get("/")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"] == "the endpoint is starting or recovering"


def test_nothing_is_sent_to_syslog_and_the_own_pages_are_local(proxy):
    text = adapt(proxy.text("one"), proxy.launch)
    assert ":514" not in text
    assert "httplog" not in text
    for port in (proxy.launch.metrics_port, proxy.launch.stats_port):
        assert f"bind 127.0.0.1:{port}\n" in text
    assert "timeout http-request 30s" in text


class Load:
    """One client without retries, a new connection for each request."""

    def __init__(self, url: str) -> None:
        self.url, self._stop = url, threading.Event()
        self.found: list[int | str] = []
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.found.append(httpx.get(f"{self.url}/x", timeout=20, trust_env=False).status_code)
            except httpx.HTTPError as error:
                self.found.append(repr(error))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.more()
        self._stop.set()
        self._thread.join()

    def more(self) -> None:
        wanted = len(self.found) + 5
        assert wait_until(lambda: len(self.found) >= wanted, timeout_s=20)


def test_the_port_passes_from_the_stand_in_to_serves_haproxy_without_a_refusal(proxy):
    assert proxy.front.stand_in(proxy.launch, message="the endpoint is starting") == ""
    assert proxy.front.probe() == "answers"
    response = proxy.get("/", headers={"x-request-id": "mine"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"] == "the endpoint is starting"
    assert response.json()["request_id"] == "mine"
    with Load(proxy.url) as load:
        load.more()
        first = proxy.start("none")
        load.more()
        proxy.start("one", "-sf", str(first.pid), "-x", str(proxy.folder / "node" / "admin.sock"))
        load.more()
    assert set(load.found) == {200, 503}
    assert load.found == [503] * load.found.count(503) + [200] * load.found.count(200), (
        "once a replica has answered, one answers always"
    )
    assert wait_until(lambda: not proxy.front.pid, timeout_s=20)


def test_after_the_death_of_haproxy_the_stand_in_knows_its_replicas_and_the_next_manager_too(proxy):
    proxy.start("one").kill()
    assert wait_until(lambda: proxy.front.probe() == "refused", timeout_s=20)
    assert proxy.front.stand_in(proxy.launch, message="", with_replicas=True) == ""
    assert haproxy.process_id(proxy.folder / "node" / "admin.sock") == 0, "Serve must see that its own is dead"
    with Load(proxy.url) as load:
        load.more()
        proxy.start("none")  # a new manager of Serve knows no application at first
        load.more()
    assert set(load.found) == {200}


def test_the_port_passes_to_the_stand_in_without_a_refusal_when_ray_is_gone(proxy):
    serves = proxy.start("one")
    with Load(proxy.url) as load:
        load.more()
        assert proxy.front.stand_in(proxy.launch, message="recovering", replaces=[serves.pid]) == ""
        load.more()
    assert set(load.found) == {200, 503}
    assert wait_until(lambda: serves.poll() is not None, timeout_s=20)


def test_a_port_in_use_is_the_stand_ins_reason_even_if_its_owner_answers(proxy):
    with Server(("127.0.0.1", proxy.port), Replica) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        assert proxy.front.probe() == "answers"
        assert "cannot bind socket" in proxy.front.stand_in(proxy.launch, message="")
        other.shutdown()
    assert proxy.front.pid == 0


def test_a_drain_lets_every_request_end_and_closes_connections_after_their_next_response(proxy):
    proxy.start("one")
    slow: list[int] = []
    with httpx.Client(timeout=20, trust_env=False) as idle:
        idle.get(f"{proxy.url}/x")
        thread = threading.Thread(target=lambda: slow.append(proxy.get("/slow").status_code))
        thread.start()
        sockets = haproxy.admin_sockets(proxy.folder)
        assert wait_until(lambda: haproxy.requests_in_flight(sockets[0]), timeout_s=10, poll_s=0.01)
        draining = threading.Thread(target=haproxy.drain, args=(sockets,), kwargs={"timeout_s": 20})
        draining.start()
        assert wait_until(lambda: proxy.front.probe() == "refused", timeout_s=10)
        response = idle.get(f"{proxy.url}/x")
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        draining.join()
    thread.join()
    assert slow == [200]
    assert haproxy.open_connections(sockets[0]) == 0
