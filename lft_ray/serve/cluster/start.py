"""Start Ray and Serve for one endpoint. In: a folder, a host, ports. Out: a running Serve, without an application.

On this machine all files are in the one folder. Stops nothing: see ``supervisor``.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lft_ray.cluster.driver import job_config
from lft_ray.errors import UnreachableError
from lft_ray.serve.cluster.environment import proxy_ports, serving_environment
from lft_ray.serve.protocols.messages import add_to_server
from lft_ray.serve.waiting import wait_until
from lft_ray.system.limits import cores

__all__ = ["prepare", "serve_starting", "start_ray"]

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Requests do not pass through the object store, so it has the smallest size that Ray accepts without a warning."""
_RAYLET_S = 90.0
"""Seconds until the raylet must have registered."""
_CONTROLLER_S = 120.0
"""Seconds until Serve's controller must have started."""
_AGENT_PORTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port", "metrics_export_port")
"""Ports of the agents: names of Ray's parameters, and of the files in which the raylet looks for them."""
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray replaces a node address of 127.0.0.1 by the machine's own address, and then all its servers listen on every
interface, unless it knows that there is only one node. This variable says so, on Linux too."""

_OWN = {
    # The raylet ends if one of its agents has not started in this time, by default 30 s: on a machine with ten busy
    # processes a core the imports of an agent alone took longer.
    "RAY_agent_register_timeout_ms": "120000",
    # Otherwise a thread of Serve that calls Ray after its end starts a second cluster, in /tmp/ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray's servers write 100 KB a minute at their usual level.
    "RAY_BACKEND_LOG_LEVEL": "warning",
}


def prepare(folder: Path, *, scales_to_zero: bool = False) -> dict[str, str]:
    """Create the files and set the environment variables of a serving cluster. Returns the variables.

    Serve reads them in its actors, which inherit them from the raylet that `start_ray` starts.

    Args:
        folder: private folder of the endpoint.
        scales_to_zero: whether the endpoint may be without a replica.
    """
    haproxy_folder = folder / "h"
    haproxy_folder.mkdir(exist_ok=True)
    # Without its own token the cluster would write one into the user's home, readable by all users.
    token = folder / "token"
    token.unlink(missing_ok=True)  # of the cluster before a restart
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    variables = serving_environment(haproxy_folder, scales_to_zero=scales_to_zero)
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), **_LOOPBACK, **_OWN}
    os.environ.update(variables | own)
    return variables


def start_ray(folder: Path) -> None:
    """Start a Ray cluster on this machine whose own ports listen on loopback only.

    Args:
        folder: private folder of the endpoint.
    """
    import ray

    with _without_helpers():
        ray.init(
            address="local",
            num_cpus=cores(),
            job_config=job_config(),
            _temp_dir=str(folder / "r"),
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


@contextmanager
def _without_helpers() -> Iterator[None]:
    """Start no dashboard, autoscaler monitor and log monitor: 180 MB and half of the start for what nobody reads.

    Ray starts them whatever it is told, and has no setting for it; a version without these methods starts as it likes.
    The agent of the dashboard stays: the raylet does not start without it.
    """
    from ray._private import services
    from ray._private.node import Node

    def patient(*arguments: Any, **options: Any) -> Any:
        # Ray gives a raylet 30 s to register, counted from call to call of this function.
        deadline = time.monotonic() + _RAYLET_S
        while True:
            try:
                return get_node(*arguments, **options)
            except RuntimeError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def nothing(self: Any, **_: object) -> None:
        self._webui_url = None

    names = ("start_monitor", "start_log_monitor", "start_api_server")
    before = {name: getattr(Node, name) for name in names if hasattr(Node, name)}

    def start_raylet(self: Any, *arguments: Any, **options: Any) -> Any:
        announce_agent_ports(self)
        return start_before(self, *arguments, **options)

    start_before: Any = Node.start_raylet
    Node.start_raylet = start_raylet  # type: ignore[method-assign]
    get_node: Any = services.get_node
    services.get_node = patient
    for name in before:
        setattr(Node, name, nothing)
    try:
        yield
    finally:
        services.get_node = get_node
        Node.start_raylet = start_before  # type: ignore[method-assign]
        for name, method in before.items():
            setattr(Node, name, method)


def announce_agent_ports(node: Any) -> None:
    """Choose the ports of the agents of a node, and tell the raylet before the agents do.

    The raylet ends if its agents have not written their ports down within 15 s, which has no setting: their imports
    alone take longer on a machine with five busy processes a core. And the agent of the dashboard takes 52365 on every
    cluster, so beside another one it tries in vain for seconds.

    Args:
        node: Ray's ``Node`` whose raylet is about to start.
    """
    from ray import _raylet

    chosen = dict(zip(_AGENT_PORTS, proxy_ports(len(_AGENT_PORTS)), strict=True))
    node._ray_params.update(**chosen)
    persist: Any = getattr(_raylet, "persist_port", None)
    for name, port in chosen.items() if persist is not None else ():  # a version without it waits in another way
        persist(node.get_session_dir_path(), node.node_id, name, port)


@contextmanager
def serve_starting(
    host: str,
    port: int,
    *,
    grpc_port: int | None = None,
    variables: Mapping[str, str] | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Start Serve; the body runs once the controller is up, and the exit waits for the proxies.

    Each of Serve's processes spends two seconds on imports. Starting the replicas in the body overlaps their imports
    with those of the proxies, which makes an endpoint ready in 12 s instead of 18 s on two busy cores.

    Args:
        host: address that HAProxy listens on.
        port: port for HTTP.
        grpc_port: port for gRPC; None: no gRPC.
        variables: environment variables for Serve's processes, if the cluster was not started with them.
        give_up: called while waiting for the controller; True ends the wait.

    Raises:
        UnreachableError: the controller was not up after two minutes, or ``give_up`` returned True.
    """
    with ThreadPoolExecutor(1) as pool:
        proxies = pool.submit(_start_serve, host, port, grpc_port, variables or {})
        _wait_controller(proxies, give_up)
        yield
        proxies.result()


def _start_serve(host: str, port: int, grpc_port: int | None, variables: Mapping[str, str]) -> None:
    from ray import serve

    # It writes lines of its own to our log at each change, whatever logging_config says.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    grpc_options = {
        "port": grpc_port,
        "grpc_servicer_functions": [f"{add_to_server.__module__}.{add_to_server.__name__}"],
        # The reflection service needs no API key, and the protocol is published anyway.
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

    def is_up() -> bool:
        if any(actor["namespace"] == "serve" for actor in list_named_actors(all_namespaces=True)):
            return True
        if proxies.done():
            proxies.result()  # done before the controller is up: it failed, and this raises its error
        return False

    if not wait_until(is_up, timeout_s=_CONTROLLER_S, poll_s=0.05, give_up=give_up):
        raise UnreachableError(f"Serve's controller did not start within {_CONTROLLER_S:.0f} s")
