"""Find and probe a Ray cluster that runs already, and check that its nodes can run our trials.

In: an address. Out: nothing, or the error that says what is wrong with it. Never starts or stops anything.
"""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from lft_ray.errors import InputError, UnreachableError, first_line
from lft_ray.node_types import run_on

__all__ = ["check_environments", "probe", "resolve_address"]

PROBE_S = 4.0
WORKER_START_S = 60.0
# HTTP/2 connection preface and an empty SETTINGS frame: what every gRPC server must answer with its own SETTINGS.
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def resolve_address(address: str) -> str:
    """Turn ``auto`` into host:port, by RAY_ADDRESS or by what the last ``ray start`` of this machine wrote."""
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"cluster.address {address!r} is not host:port", fix="for example 10.0.0.5:6379, or auto")
        return address
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    note = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
    with suppress(OSError):
        if found := note.read_text(encoding="utf-8").strip():
            return found
    raise UnreachableError(
        "cluster.address is auto, and no Ray cluster was started on this machine",
        fix="run `ray start --head` first, or leave cluster.address empty to have one started for the study",
    )


def probe(target: str) -> None:
    """Ask for HTTP/2 settings. ``ray.init`` itself hangs for 122 s on a closed port and on a web server (2.60)."""
    host, _, port = target.rpartition(":")
    answer = b""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            connection.settimeout(PROBE_S)
            connection.sendall(HTTP2_HELLO)
            while len(answer) < 9 and (part := connection.recv(9 - len(answer))):
                answer += part
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"no Ray cluster answers at {target}: {error}",
            fix="check cluster.address and that the head node's port is open from here",
        ) from error
    if len(answer) < 9 or answer[3] != 4:
        raise UnreachableError(
            f"what listens at {target} is not a Ray cluster", fix="use the head node's GCS port, 6379 unless changed"
        )


def check_environments(address: str) -> None:
    """Ask every node which lft_ray it would import, and whether it asks for tokens as this driver does.

    The driver's code is not shipped: a cluster needs its own. A driver with tokens on a cluster without them can start
    tasks and then never hears back from a replica: that would be a hang, so it is refused here.
    """
    import ray

    def installed() -> tuple[str, str]:
        # Nested, so that Ray pickles it by value: a node without lft_ray can still run it and say so.
        from importlib import import_module

        from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

        mode = "disabled" if get_authentication_mode() == AuthenticationMode.DISABLED else "token"
        try:
            return str(import_module("lft_ray").__version__), mode
        except ImportError as error:
            return f"none ({error})", mode

    alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    asked = {host: run_on(node_id, installed) for node_id, host in alive.items()}
    here = installed()
    for host, reference in asked.items():
        try:
            there = ray.get(reference, timeout=WORKER_START_S)
        except ray.exceptions.RayError as error:
            raise UnreachableError(
                f"node {host} of the cluster did not start a worker in {WORKER_START_S:g} s: {first_line(error)}"
            ) from error
        _check_same(f"node {host} of the cluster at {address}", there, here)


def _check_same(node: str, there: tuple[str, str], here: tuple[str, str]) -> None:
    """Compare (version of lft_ray, token mode) of a node with the driver's."""
    (version, mode), (own_version, own_mode) = there, here
    if mode != own_mode:
        raise UnreachableError(
            f"{node} has token authentication {mode}, and this driver {own_mode}",
            fix=f"export RAY_AUTH_MODE={mode}, or better: start the cluster with RAY_AUTH_MODE=token",
        )
    if version != own_version:
        raise InputError(
            f"{node} has lft_ray {version}; this driver has {own_version}",
            fix=f"pip install lft-ray=={own_version} in the environment of every node",
        )
