"""Start Ray and Serve for one endpoint. In: a folder, a host, ports. Out: a running Serve, without an application.

On this machine all files are in the one folder. Stops nothing: see ``supervisor``.
"""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from lft_ray.cluster.driver import job_config
from lft_ray.cluster.start import PATIENCE_ENV, starting_ray
from lft_ray.errors import UnreachableError
from lft_ray.serve.cluster.environment import serving_environment
from lft_ray.serve.protocols.messages import add_to_server
from lft_ray.serve.waiting import wait_until
from lft_ray.system.limits import cores

__all__ = ["prepare", "serve_starting", "start_ray"]

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Requests do not pass through the object store, so it has the smallest size that Ray accepts without a warning."""
_CONTROLLER_S = 120.0
"""Seconds until Serve's controller must have started."""
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray replaces a node address of 127.0.0.1 by the machine's own address, and then all its servers listen on every
interface, unless it knows that there is only one node. This variable says so, on Linux too."""

_OWN = {
    **PATIENCE_ENV,
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

    with starting_ray():
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
    pool = ThreadPoolExecutor(1)
    try:
        proxies = pool.submit(_start_serve, host, port, grpc_port, variables or {})
        _wait_controller(proxies, give_up)
        yield
        # Serve gives its proxies a minute, which a busy machine exceeds while they start. Whoever waits for the replica
        # or for an answer is more patient, and says what is missing.
        with suppress(TimeoutError):
            proxies.result()
    finally:
        # After an error or an interrupt nobody needs the proxies: waiting for them took 8 s, and then the command had
        # to leave by force.
        pool.shutdown(wait=False, cancel_futures=True)


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
