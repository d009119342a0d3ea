"""Start Ray and Serve for one endpoint on this machine, everything in one folder. Stops nothing: see ``supervisor``."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lft_ray.errors import UnreachableError
from lft_ray.serve.cluster.environment import serving_environment
from lft_ray.serve.protocols.messages import add_to_server
from lft_ray.serve.waiting import wait_until

__all__ = ["prepare", "serve_starting", "start_ray"]

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Requests do not pass through the object store, so it has the least size that Ray takes without complaint."""
_CONTROLLER_S = 120.0
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray replaces a node address of 127.0.0.1 by the machine's own unless it is told that there is one node only, and then
all its servers listen on every interface. This is how it is told, on Linux too."""


def prepare(folder: Path) -> dict[str, str]:
    """Make the files and set the variables that a serving cluster starts with. Returns the variables.

    Serve reads them in its actors, which inherit them from the raylet that `start_ray` starts.
    """
    haproxy_folder = folder / "h"
    haproxy_folder.mkdir()
    # Without a token of its own the cluster would write one, readable by all, into the user's home.
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    variables = serving_environment(haproxy_folder)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), **_LOOPBACK}
    os.environ.update(variables | own)
    return variables


def start_ray(folder: Path) -> None:
    """Start a cluster of this machine whose own ports listen on loopback only."""
    import ray

    ray.init(
        address="local",
        _temp_dir=str(folder / "r"),
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )


@contextmanager
def serve_starting(
    host: str,
    port: int,
    *,
    grpc_port: int | None = None,
    variables: Mapping[str, str] | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Start Serve; the body runs as soon as there is a controller, the exit waits for the proxies.

    Each of Serve's processes imports for two seconds. The replica does so while the proxies do, which makes an endpoint
    ready in 12 s instead of 18 on two busy cores.

    Args:
        host: address that HAProxy listens on.
        port: its port.
        grpc_port: its port for gRPC; None: no gRPC.
        variables: for Serve's processes, where the cluster was not started with them.
        give_up: asked while the controller is waited for.

    Raises:
        UnreachableError: there is no controller after two minutes, or ``give_up`` said so.
    """
    with ThreadPoolExecutor(1) as pool:
        proxies = pool.submit(_start_serve, host, port, grpc_port, variables or {})
        _wait_controller(proxies, give_up)
        yield
        proxies.result()


def _start_serve(host: str, port: int, grpc_port: int | None, variables: Mapping[str, str]) -> None:
    from ray import serve

    grpc_options = {
        "port": grpc_port,
        "grpc_servicer_functions": [f"{add_to_server.__module__}.{add_to_server.__name__}"],
        # Its service would answer anybody, and the messages are published.
        "enable_reflection": False,
    }
    serve.start(
        grpc_options=grpc_options if grpc_port is not None else None,
        proxy_location="EveryNode",
        http_options={"host": host, "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
        controller_options={"runtime_env": {"env_vars": dict(variables)}} if variables else None,
    )


def _wait_controller(proxies: "Future[None]", give_up: Callable[[], bool]) -> None:
    from ray.util import list_named_actors

    def is_there() -> bool:
        if any(actor["namespace"] == "serve" for actor in list_named_actors(all_namespaces=True)):
            return True
        if proxies.done():
            proxies.result()  # it can only have failed
        return False

    if not wait_until(is_there, timeout_s=_CONTROLLER_S, poll_s=0.05, give_up=give_up):
        raise UnreachableError(f"Serve's controller did not start within {_CONTROLLER_S:.0f} s")
