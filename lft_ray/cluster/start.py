"""Start Ray's processes on a busy machine. In: whether the dashboard is wanted. Out: patience around ``ray.init``.

Ray gives its raylet 30 s to register and its agents 15 s to report their ports, without settings for either; on a
machine with a load of five a core the imports of an agent alone took longer. Starts nothing itself.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lft_ray.system.ports import server_ports

__all__ = ["PATIENCE_ENV", "RAYLET_S", "START_TIMEOUT_WORDS", "RayletDiedError", "starting_ray"]

RAYLET_S = 90.0
"""Seconds until the raylet must have registered."""
START_TIMEOUT_WORDS = "timed out during startup"
"""Ray's words for a start that took too long, which another attempt may mend."""
PATIENCE_ENV = {
    # The raylet ends if one of its agents has not started in this time, by default 30 s.
    "RAY_agent_register_timeout_ms": "120000",
    # A worker that has not registered in this time, by default 60 s, is killed, and so is the next one.
    "RAY_worker_register_timeout_seconds": "300",
}
"""Environment variables for the processes of a cluster that is started here."""
_AGENT_PORTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port", "metrics_export_port")
_PRESTARTED = "--num_prestart_python_workers="
_HELPERS = ("start_monitor", "start_log_monitor", "start_api_server")
_DASHBOARD = "start_api_server"


class RayletDiedError(Exception):
    """The raylet ended before it had registered."""


@contextmanager
def starting_ray(*, with_dashboard: bool = False) -> Iterator[None]:
    """Within the block, ``ray.init`` starts only what is used, with ports chosen for it, and waits `RAYLET_S`.

    It starts no autoscaler monitor and no log monitor, and a dashboard only where one is wanted: 180 MB and half of the
    start for what nobody reads. Ray starts them whatever it is told; a version without these methods starts as it
    likes. The agent of the dashboard stays: the raylet does not start without it.

    No worker is started before it is wanted: the raylet answers the driver only when all of these have registered. With
    both cores taken they did not within Ray's limit, were killed, and ``ray.init`` never came back, deaf to signals.

    Args:
        with_dashboard: start the dashboard too, for its State API.
    """
    from ray._private import services
    from ray._private.node import Node

    get_node: Any = services.get_node
    start_raylet: Any = Node.start_raylet
    start_process: Any = services.start_ray_process
    before = _unwanted(Node, with_dashboard=with_dashboard)

    nodes: list[Any] = []

    def with_ports(self: Any, *arguments: Any, **options: Any) -> Any:
        _give_ports(self)
        nodes.append(self)
        return start_raylet(self, *arguments, **options)

    def without_workers(command: list[str], *arguments: Any, **options: Any) -> Any:
        return start_process(_without_workers(command), *arguments, **options)

    def nothing(self: Any, **_: object) -> None:
        self._webui_url = None

    services.get_node, services.start_ray_process = _patient(get_node, nodes), without_workers
    Node.start_raylet = with_ports  # type: ignore[method-assign]
    for name in before:
        setattr(Node, name, nothing)
    try:
        yield
    finally:
        services.get_node, services.start_ray_process = get_node, start_process
        Node.start_raylet = start_raylet  # type: ignore[method-assign]
        for name, method in before.items():
            setattr(Node, name, method)


def _patient(get_node: Any, nodes: list[Any]) -> Any:
    def patient(*arguments: Any, **options: Any) -> Any:
        # Ray's 30 s are counted from call to call of this function.
        deadline = time.monotonic() + RAYLET_S
        while True:
            try:
                return get_node(*arguments, **options)
            except RuntimeError as error:
                if time.monotonic() >= deadline:
                    raise
                if any(_has_lost_raylet(node) for node in nodes):
                    raise RayletDiedError(f"the raylet {START_TIMEOUT_WORDS}: it died") from error
                time.sleep(0.1)

    return patient


def _unwanted(node: Any, *, with_dashboard: bool) -> dict[str, Any]:
    names = [name for name in _HELPERS if not (with_dashboard and name == _DASHBOARD)]
    return {name: getattr(node, name) for name in names if hasattr(node, name)}


def _without_workers(command: list[str]) -> list[str]:
    return [f"{_PRESTARTED}0" if str(word).startswith(_PRESTARTED) else word for word in command]


def _give_ports(node: Any) -> None:
    """Choose the ports of the agents, and say so where the raylet waits 15 s for the agents to say it.

    The agents take these ports when they have started. Without a port of its own, that of the dashboard takes 52365 on
    every cluster of the host, and beside another one tries in vain for seconds.
    """
    ports = dict(zip(_AGENT_PORTS, server_ports(len(_AGENT_PORTS)), strict=True))
    node._ray_params.update(**ports)
    with suppress(ImportError, AttributeError):
        from ray._raylet import persist_port  # type: ignore[attr-defined]

        for name, port in ports.items():
            persist_port(node._session_dir, node._node_id, name, port)


def _has_lost_raylet(node: Any) -> bool:
    return any("raylet" in str(name).lower() for name, _ in node.dead_processes())
