"""The files of HAProxy in an endpoint's folder, and a stand-in that holds the port while Serve's own HAProxy is not up.

In: a folder, a host, ports. Out: files, and a HAProxy process without Ray. The launcher of Serve's HAProxy takes the
port over from the stand-in without closing it, so a client is never refused while the endpoint starts or recovers.
"""

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from lft_ray.serve.cluster import haproxy_launcher
from lft_ray.serve.cluster.haproxy import admin_sockets, process_id
from lft_ray.serve.cluster.haproxy_launcher import BUFFER_BYTES, Launch, checks, json_return
from lft_ray.serve.http.errors import error_type
from lft_ray.serve.waiting import wait_until

__all__ = ["Front", "write_files"]

_ERRORS = {
    400: "the request is not valid HTTP, or its headers are longer than 16 KB",
    403: "this request is forbidden",
    408: "the request did not arrive within 30 s",
    413: "the body is too large",
    422: "the request uses a transfer encoding that is not supported",
    500: "the request could not be handled",
    501: "the request uses a feature of HTTP that is not offered",
    502: "no replica is available",
    503: "no replica is available",
    504: "no replica answered within 65 s",
}
"""Errors that HAProxy itself returns, with their reasons. Clients treat a 502 like a 503, so it becomes one."""
_REPORTED_AS = {502: 503}
_RETRY = frozenset({502, 503, 504})
_PROBE_S = 2.0
"""Seconds until a HAProxy that accepts a connection must answer: it does so itself, without a replica."""
_START_S = 5.0
"""Seconds until the stand-in must listen."""


def write_files(folder: Path, launch: Launch) -> Path:
    """Write the launcher, its settings and HAProxy's error responses. Returns the path of the launcher."""
    for code, message in _ERRORS.items():
        status = _REPORTED_AS.get(code, code)
        body = json.dumps({"error": message, "error_type": error_type(status), "request_id": ""})
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        retry = "Retry-After: 1\r\n" if code in _RETRY else ""
        response = f"{head}{retry}Content-Length: {len(body)}\r\n\r\n{body}"
        (folder / f"{code}.http").write_bytes(response.encode())
    settings = folder / "launcher.json"
    settings.write_text(json.dumps(launch._asdict()), encoding="utf-8")
    launcher = folder / "haproxy"
    words = shlex.join([sys.executable, "-IS", str(Path(haproxy_launcher.__file__).resolve()), str(settings)])
    launcher.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    return launcher


@dataclass(slots=True)
class Front:
    """What answers on the endpoint's port when Serve's HAProxy does not.

    Args:
        folder: folder of the files of HAProxy.
        host: address to listen on.
        port: port for HTTP.
        grpc_port: port for gRPC; None: no gRPC.
    """

    folder: Path
    host: str
    port: int
    grpc_port: int | None
    has_replicas: bool = False
    """Whether the stand-in sends requests to replicas."""
    message: str = ""
    """Reason of its 503 without replicas."""
    _process: "subprocess.Popen[bytes] | None" = None

    def probe(self) -> Literal["answers", "refused", "silent"]:
        """Ask for an HTTP response on the port; HAProxy gives it without a replica."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        try:
            with socket.create_connection((host, self.port), timeout=_PROBE_S) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nhost: endpoint\r\nconnection: close\r\n\r\n")
                return "answers" if client.recv(16) else "silent"
        except TimeoutError:
            return "silent"
        except OSError:
            return "refused"

    def stand_in(
        self, launch: Launch, *, message: str, with_replicas: bool = False, replaces: Sequence[int] = ()
    ) -> str:
        """Start the stand-in, in place of an earlier one.

        Args:
            launch: settings of the launcher.
            with_replicas: use the last configuration of Serve's HAProxy, whose replicas are still there.
            message: reason of the 503 without replicas.
            replaces: process ids of HAProxy whose ports it takes over.

        Returns:
            Empty once it listens, else HAProxy's reason.
        """
        self.stop()
        config = self.folder / "stand-in.cfg"
        last = self.folder / "last.cfg"
        self.has_replicas, self.message = with_replicas and last.exists(), message
        if self.has_replicas:
            config.write_text(self._own_socket(last.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            config.write_text(self._waiting(launch, message), encoding="utf-8")
        with (self.folder / "stand-in.log").open("wb") as log:
            self._process = subprocess.Popen(
                [launch.binary, "-db", "-dR", "-f", str(config), *self._takeover(replaces)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (self.folder / "stand-in.pid").write_text(str(self._process.pid), encoding="ascii")
        process = self._process
        own = self.folder / "stand-in.sock"
        # Whatever else answers on the port, it listens only if it says so itself.
        wait_until(
            lambda: process_id(own) == process.pid or process.poll() is not None, timeout_s=_START_S, poll_s=0.05
        )
        if process.poll() is None:
            return ""
        self.stop()
        return (self.folder / "stand-in.log").read_text(encoding="utf-8", errors="replace").strip()

    @property
    def pid(self) -> int:
        """Process id of the stand-in; 0 without one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def _takeover(self, replaces: Sequence[int]) -> list[str]:
        """Arguments that take the open sockets of others over, so that no connection meets a closed port."""
        if not replaces:
            return []
        alive = [path for path in admin_sockets(self.folder) if process_id(path) in replaces]
        return ["-sf", *map(str, replaces), *(["-x", str(alive[0])] if alive else [])]

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def reap(self) -> None:
        """Collect a stand-in that Serve's HAProxy has replaced."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()

    def stop(self) -> None:
        """End the stand-in, if there is one."""
        (self.folder / "stand-in.pid").unlink(missing_ok=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _own_socket(self, text: str) -> str:
        # Serve's manager asks the socket whether its HAProxy lives: the stand-in must not answer for it.
        lines = [line for line in text.splitlines() if not line.strip().startswith(("load-server-state", "server-st"))]
        own = f"    stats socket {self.folder}/stand-in.sock mode 600 level admin expose-fd listeners"
        return "\n".join(own if line.strip().startswith("stats socket") else line for line in lines) + "\n"

    def _waiting(self, launch: Launch, message: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            "global",
            f"    stats socket {self.folder}/stand-in.sock mode 600 level admin expose-fd listeners",
            "    nbthread 1",
            f"    tune.bufsize {BUFFER_BYTES}",
            "    tune.http.maxhdr 1000",
            "    hard-stop-after 30s",
            "defaults",
            "    mode http",
            "    timeout connect 5s",
            "    timeout client 30s",
            "    timeout server 30s",
            "    timeout http-request 30s",
            "    option idle-close-on-response",
            *(f"    errorfile {code} {self.folder}/{code}.http" for code in _ERRORS),
            "frontend http_frontend",
            f"    bind {host}:{self.port}",
            *checks(launch.id_pattern),
            json_return(503, message, retry=True),
        ]
        if self.grpc_port is not None:
            lines += [
                "frontend grpc_frontend",
                f"    bind {host}:{self.grpc_port} proto h2",
                "    http-request return status 200 content-type application/grpc hdr grpc-status 14 "
                f'hdr grpc-message "{message}"',
            ]
        return "\n".join(lines) + "\n"
