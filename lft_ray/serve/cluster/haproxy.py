"""Admin socket of a running HAProxy: the replicas that it routes to, requests in flight, and closing its port.

In: the path of the socket. Out: parsed statistics. Never raises when HAProxy is gone: it is replaced on every change.
"""

import csv
import io
import socket
import time
from contextlib import suppress
from pathlib import Path

from lft_ray.serve.cluster.haproxy_launcher import PROBE
from lft_ray.serve.waiting import wait_until

__all__ = [
    "admin_sockets",
    "drain",
    "open_connections",
    "process_id",
    "requests_in_flight",
    "routed_servers",
    "stop_accepting",
]

_FRONTENDS = ("http_frontend", "grpc_frontend")
_IDLE_S = 2.0
"""Seconds that clients with an idle connection have to use it once more, and so to hear that it closes."""
_STATS_PAGE = "stats"
_SLOW_PROXY = "SERVE_PROXY_ACTOR"


def admin_sockets(folder: Path) -> list[Path]:
    """HAProxy's admin sockets below ``folder``: one per node, and that of a stand-in."""
    return sorted([*folder.glob("*/admin.sock"), *folder.glob("stand-in.sock")])


def routed_servers(socket_path: Path) -> list[str]:
    """Addresses of the replicas that HAProxy considers up, without its fallback to Serve's slow Python proxy.

    Returns:
        ``host:port`` of each; a replica with gRPC is listed twice, once per port. Empty if HAProxy does not respond: it
        is gone, or being replaced by one with a newer configuration.
    """
    rows = (r for r in _rows(socket_path, "2") if not r["svname"].startswith(_SLOW_PROXY) and r["# pxname"] != PROBE)
    return [row["addr"] for row in rows if row["status"] == "UP" and row["act"] == "1"]


def requests_in_flight(socket_path: Path) -> int:
    """Number of requests that HAProxy has forwarded and that have no response yet; 0 if HAProxy does not respond."""
    return sum(int(row["scur"] or 0) for row in _rows(socket_path, "1") if row["# pxname"] != _STATS_PAGE)


def process_id(socket_path: Path) -> int:
    """Process id of the HAProxy behind the socket, which listens on all its ports then; 0 if none responds."""
    return _info(socket_path, "Pid")


def open_connections(socket_path: Path) -> int:
    """Number of clients with an open connection, idle or not; 0 if HAProxy does not respond."""
    return _info(socket_path, "CurrConns")


def stop_accepting(socket_path: Path) -> None:
    """Close the port for new connections. Open ones get their next response with ``connection: close``."""
    # The first command makes the kernel refuse connections, the second one closes those that are open.
    commands = [f"{word} frontend {name}" for name in _FRONTENDS for word in ("disable", "shutdown")]
    _command(socket_path, "; ".join(commands))


def drain(sockets: list[Path], *, timeout_s: float) -> None:
    """Stop accepting, and wait until every request has its response and clients have left their connections.

    A client with an idle connection has two seconds to use it once more; after that it is closed.

    Args:
        sockets: from `admin_sockets`.
        timeout_s: maximum wait in seconds.
    """
    for path in sockets:
        stop_accepting(path)
    idle_until = time.monotonic() + _IDLE_S

    def is_drained() -> bool:
        if any(map(requests_in_flight, sockets)):
            return False
        return time.monotonic() >= idle_until or not any(map(open_connections, sockets))

    wait_until(is_drained, timeout_s=timeout_s, poll_s=0.05)


def _info(socket_path: Path, name: str) -> int:
    lines = _command(socket_path, "show info").splitlines()
    return next((int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:")), 0)


def _rows(socket_path: Path, kind: str) -> list[dict[str, str]]:
    # Row types of HAProxy: 0 is a frontend, 1 a backend, 2 a server.
    rows = csv.DictReader(io.StringIO(_command(socket_path, "show stat")))
    return [row for row in rows if row.get("type") == kind]


def _command(socket_path: Path, text: str, *, timeout_s: float = 2.0) -> str:
    response = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(timeout_s)
        admin.connect(str(socket_path))
        admin.sendall(f"{text}\n".encode())
        while chunk := admin.recv(65536):
            response += chunk
    return response.decode("utf-8", "replace")
