"""Ask a running HAProxy, by its admin socket, which replicas it routes to and what is in flight; close its port."""

import csv
import io
import socket
from contextlib import suppress
from pathlib import Path

__all__ = ["admin_sockets", "routed_servers", "stop_accepting", "unanswered"]

_FRONTEND = "http_frontend"
_STATS_PAGE = "stats"
_SLOW_PROXY = "SERVE_PROXY_ACTOR"


def admin_sockets(folder: Path) -> list[Path]:
    """HAProxy's admin sockets below ``folder``: one a node."""
    return sorted(folder.glob("*/admin.sock"))


def routed_servers(socket_path: Path) -> list[str]:
    """Addresses (``host:port``) of the replicas that HAProxy holds to be up, its fallback to the slow proxy left out.

    A replica that also speaks gRPC stands there twice, with a port for each.

    Returns:
        Empty when HAProxy does not answer (it is being replaced by one with a newer configuration, or gone).
    """
    rows = (row for row in _rows(socket_path, "2") if not row["svname"].startswith(_SLOW_PROXY))
    return [row["addr"] for row in rows if row["status"] == "UP" and row["act"] == "1"]


def unanswered(socket_path: Path) -> int:
    """Requests that HAProxy has handed on and not had an answer for; 0 when it does not answer itself."""
    return sum(int(row["scur"] or 0) for row in _rows(socket_path, "1") if row["# pxname"] != _STATS_PAGE)


def stop_accepting(socket_path: Path) -> None:
    """Close the port for new connections; those that are open go on."""
    _command(socket_path, f"disable frontend {_FRONTEND}")


def _rows(socket_path: Path, kind: str) -> list[dict[str, str]]:
    # HAProxy's kinds of rows: 0 a frontend, 1 a backend, 2 a server.
    rows = csv.DictReader(io.StringIO(_command(socket_path, "show stat")))
    return [row for row in rows if row.get("type") == kind]


def _command(socket_path: Path, text: str, *, timeout_s: float = 2.0) -> str:
    answer = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(timeout_s)
        admin.connect(str(socket_path))
        admin.sendall(f"{text}\n".encode())
        while chunk := admin.recv(65536):
            answer += chunk
    return answer.decode("utf-8", "replace")
