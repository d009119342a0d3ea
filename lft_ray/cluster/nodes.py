"""Nodes of a cluster: those that are running, and those that its autoscaler may start.

In: a connected Ray cluster. Out: `Node` values. Right after ``ray up`` only the head is running, so the limits are read
from the configuration file of the autoscaler. Never starts a node.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lft_ray.errors import InputError, UnreachableError

__all__ = [
    "HEAD_MARK",
    "SCALE_UP_S",
    "Autoscaler",
    "Fleet",
    "Node",
    "NodeType",
    "describe",
    "fleet",
    "pinned_to",
    "run_on",
]

SCALE_UP_S = 1200.0
"""Maximum wait in seconds for a node from the autoscaler. A cloud machine boots in 1-3 minutes and then installs torch;
Ray's own limits are 10 minutes until the cloud provides a machine, and 30 more until Ray runs on it."""

HEAD_MARK = "node:__internal_head__"
"""Resource that Ray assigns to the head node only."""
_READ_TIMEOUT_S = 60.0
"""Seconds to wait until the head has started a worker and read the file."""
_NODE_TYPE_LABEL = "ray.io/node-group"
_ONE_HOST_PROVIDERS = ("fake_multinode", "fake_multi_node")


@dataclass(frozen=True, slots=True)
class Node:
    """Resources of one node.

    Attributes:
        host: host name; the name of the node type if the node is not running.
        cpus: number of CPU cores.
        gpus: number of accelerators.
        custom: names of the other resources.
        is_up: whether the node is running; False: the autoscaler may start it.
    """

    host: str
    cpus: float
    gpus: float
    custom: frozenset[str] = frozenset()
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class NodeType:
    """One entry of ``available_node_types``.

    Attributes:
        name: name of the node type.
        resources: resources of each node.
        max_workers: maximum number of nodes of this type.
    """

    name: str
    resources: Mapping[str, float]
    max_workers: int


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """Limits of an autoscaler.

    Attributes:
        types: node types of workers.
        max_workers: maximum number of nodes of all types together, the head not counted.
        on_one_host: whether all nodes share one machine, as with Ray's providers for tests.
    """

    types: tuple[NodeType, ...]
    max_workers: int
    on_one_host: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Autoscaler":
        """Read the limits from a cluster configuration file, with Ray's defaults for missing keys.

        Node types without resources (``provider: local``) are skipped, since their capacity is unknown.

        Args:
            config: content of the file, as completed by ``ray up``.
        """
        max_workers, head = int(config.get("max_workers", 2)), config.get("head_node_type")
        types = []
        for name, entry in (config.get("available_node_types") or {}).items():
            resources = {key: float(value) for key, value in (entry.get("resources") or {}).items()}
            max_of_type = int(entry.get("max_workers", 0 if name == head else max_workers))
            if resources and max_of_type > 0:
                types.append(NodeType(name, resources, max_of_type))
        provider = config.get("provider") or {}
        names = f"{provider.get('type')} {provider.get('module')}"
        return cls(tuple(types), max_workers, on_one_host=any(name in names for name in _ONE_HOST_PROVIDERS))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Running nodes and nodes that may be started.

    Attributes:
        nodes: running nodes, then one entry for each node that a node type still allows.
        may_start: maximum number of nodes that may be started, all types together.
        on_one_host: see `Autoscaler`.
    """

    nodes: tuple[Node, ...]
    may_start: int = 0
    on_one_host: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, living: Sequence[Mapping[str, Any]], autoscaler: Autoscaler | None) -> "Fleet":
        """Compare the running nodes with the limits of the autoscaler.

        A running node counts against the limit of its type, unless the autoscaler did not start it (the head, or a
        machine that joined manually).

        Args:
            living: running nodes, as ``ray.nodes()`` lists them.
            autoscaler: its limits; None: the cluster has no autoscaler.
        """
        up = tuple(_node(str(node["NodeManagerHostname"]), node["Resources"]) for node in living)
        if autoscaler is None:
            return cls(up)
        taken = [_type_of(node, autoscaler.types) for node in living]
        may_start = max(0, autoscaler.max_workers - sum(name is not None for name in taken))
        new = tuple(
            _node(kind.name, kind.resources, is_up=False)
            for kind in autoscaler.types
            for _ in range(min(may_start, kind.max_workers - taken.count(kind.name)))
        )
        return cls(up + new, min(may_start, len(new)), on_one_host=autoscaler.on_one_host)

    @property
    def size(self) -> int:
        """Maximum number of nodes at the same time."""
        return sum(node.is_up for node in self.nodes) + self.may_start

    def offers(self, resource: str) -> bool:
        """Whether a node, running or startable, has the custom resource."""
        return any(resource in node.custom for node in self.nodes)


def fleet() -> Fleet:
    """Return the nodes of the connected cluster.

    Raises:
        InputError: the configuration file of the autoscaler cannot be read.
        UnreachableError: the head node starts no worker to read it.
    """
    import ray

    living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Fleet.of(living, _autoscaler(living))


def describe(nodes: Sequence[Node]) -> str:
    """Describe nodes in one line: ``head: 0 CPU, 0 GPU; may be started: up to 8 x trial: 8 CPU, 1 GPU``."""
    up = ", ".join(f"{node.host}: {_offers(node)}" for node in nodes if node.is_up)
    new = [node for node in nodes if not node.is_up]
    kinds = ", ".join(f"up to {new.count(node)} x {node.host}: {_offers(node)}" for node in dict.fromkeys(new))
    return f"{up}; may be started: {kinds}" if kinds else up


def pinned_to(node_id: str) -> Any:
    """Return the scheduling strategy of a task or actor that must run on this node or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def run_on(node_id: str, function: Callable[..., Any], *arguments: Any, retries: int = 0) -> Any:
    """Start a function on one node, in a worker that reserves no core.

    Args:
        node_id: Ray's id of the node.
        function: function to run; the node imports it, unless it is defined inside another function.
        arguments: arguments of the function.
        retries: number of restarts after the worker died.

    Returns:
        The object reference, for ``ray.get``.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=retries)(function)
    return task.options(scheduling_strategy=pinned_to(node_id)).remote(*arguments)


def _offers(node: Node) -> str:
    return f"{node.cpus:g} CPU, {node.gpus:g} GPU"


def _node(host: str, resources: Mapping[str, Any], *, is_up: bool = True) -> Node:
    custom = frozenset(resources) - {"CPU", "GPU", "memory", "object_store_memory"}
    return Node(host, float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), custom, is_up)


def _type_of(node: Mapping[str, Any], types: Sequence[NodeType]) -> str | None:
    has = node["Resources"]
    if HEAD_MARK in has:
        return None
    if label := (node.get("Labels") or {}).get(_NODE_TYPE_LABEL):
        return label if any(kind.name == label for kind in types) else None
    # Only the newer autoscaler labels its nodes; with the older one, compare the resources with those of each type.
    return next((kind.name for kind in types if _declared(kind.resources) == _declared(has)), None)


def _declared(resources: Mapping[str, Any]) -> dict[str, float]:
    """Resources without zeros and without those that Ray adds by itself."""
    added = ("node:", "memory", "object_store_memory", "accelerator_type:")
    return {key: float(value) for key, value in resources.items() if value and not key.startswith(added)}


# ---------------------------------------------------------------- configuration file of the autoscaler


def _autoscaler(living: Sequence[Mapping[str, Any]]) -> Autoscaler | None:
    """Limits of the autoscaler of the connected cluster; None without one.

    Ray has no API for them: only the command line of the autoscaler process, on the head node, has the path of the
    file.
    """
    import ray

    heads = [str(node["NodeID"]) for node in living if HEAD_MARK in node["Resources"]]
    if not heads:
        return None
    context = ray.get_runtime_context()
    port = context.gcs_address.rpartition(":")[2]
    if context.get_node_id() == heads[0]:
        return _read(port)
    try:
        found: Autoscaler | None = ray.get(run_on(heads[0], _read, port), timeout=_READ_TIMEOUT_S)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, InputError) else error from None
    except ray.exceptions.RayError as error:
        raise UnreachableError(
            f"the head node of the cluster did not start a worker in {_READ_TIMEOUT_S:g} s: {error}"
        ) from error
    return found


def _read(gcs_port: str) -> Autoscaler | None:
    """Find the autoscaler process of this cluster, and read its configuration file; runs on the head node."""
    import psutil
    import yaml

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        path = given.get("--autoscaling-config")
        is_monitor = any(word.endswith("monitor.py") for word in words)
        if not path or not is_monitor or given.get("--gcs-address", "").rpartition(":")[2] != gcs_port:
            continue
        try:
            return Autoscaler.of(yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(
                f"the configuration file of the autoscaler cannot be read on the head node: {error}",
                fix="run lft as the user who started the head node",
            ) from error
    return None
