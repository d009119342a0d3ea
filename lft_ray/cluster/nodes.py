"""Which nodes a cluster has, and which its autoscaler may start: after ``ray up`` there is nothing but a head.

In: a connected Ray cluster. Out: `Node`s. Reads the file that the autoscaler itself follows; starts no node.
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
"""Longest wait for a node that the autoscaler starts. A cloud machine boots in 1-3 minutes, then installs torch; Ray's
own limits are 10 minutes until the cloud gives a machine and 30 more until Ray runs on it."""

HEAD_MARK = "node:__internal_head__"
"""Resource that Ray gives to a cluster's head and to no other node."""
_ASK_S = 60.0
_NODE_TYPE_LABEL = "ray.io/node-group"
_ONE_HOST_PROVIDERS = ("fake_multinode", "fake_multi_node")


@dataclass(frozen=True, slots=True)
class Node:
    """Resources of one node.

    Attributes:
        host: its name; the node type where it is not up.
        cpus: cores it offers.
        gpus: accelerators it offers.
        custom: names of its other resources.
        is_up: False for a node that the autoscaler may start.
    """

    host: str
    cpus: float
    gpus: float
    custom: frozenset[str] = frozenset()
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class NodeType:
    """One entry of ``available_node_types``: what a node offers, and how many there may be."""

    name: str
    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """What an autoscaler may start.

    Attributes:
        types: node types of workers.
        most_workers: nodes of all types together, the head not counted.
        on_one_host: Ray's provider for tests, whose nodes all share one machine.
    """

    types: tuple[NodeType, ...]
    most_workers: int
    on_one_host: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Autoscaler":
        """Read a cluster file as ``ray up`` completes it, with Ray's defaults where it is silent.

        A type whose resources the file does not tell (``provider: local``) is left out: nobody knows what it offers.
        """
        most, head = int(config.get("max_workers", 2)), config.get("head_node_type")
        types = []
        for name, entry in (config.get("available_node_types") or {}).items():
            resources = {key: float(value) for key, value in (entry.get("resources") or {}).items()}
            most_of_type = int(entry.get("max_workers", 0 if name == head else most))
            if resources and most_of_type > 0:
                types.append(NodeType(name, resources, most_of_type))
        provider = config.get("provider") or {}
        names = f"{provider.get('type')} {provider.get('module')}"
        return cls(tuple(types), most, on_one_host=any(name in names for name in _ONE_HOST_PROVIDERS))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes that are up and nodes that may be.

    Attributes:
        nodes: living nodes, then one for each that a node type still allows.
        may_start: at most so many of the latter come up, all types together.
        on_one_host: see `Autoscaler`.
    """

    nodes: tuple[Node, ...]
    may_start: int = 0
    on_one_host: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, living: Sequence[Mapping[str, Any]], autoscaler: Autoscaler | None) -> "Fleet":
        """Count living nodes, as ``ray.nodes()`` lists them, against what the autoscaler may have.

        A living node takes a place of its type; one that the autoscaler did not start (the head, a machine that joined
        by hand) takes none.
        """
        up = tuple(_node(str(node["NodeManagerHostname"]), node["Resources"]) for node in living)
        if autoscaler is None:
            return cls(up)
        taken = [_type_of(node, autoscaler.types) for node in living]
        may_start = max(0, autoscaler.most_workers - sum(name is not None for name in taken))
        new = tuple(
            _node(kind.name, kind.resources, is_up=False)
            for kind in autoscaler.types
            for _ in range(min(may_start, kind.most - taken.count(kind.name)))
        )
        return cls(up + new, min(may_start, len(new)), on_one_host=autoscaler.on_one_host)

    @property
    def size(self) -> int:
        """How many nodes there can be at the same time."""
        return sum(node.is_up for node in self.nodes) + self.may_start

    def offers(self, resource: str) -> bool:
        """Whether a node has the custom resource, or may have it."""
        return any(resource in node.custom for node in self.nodes)


def fleet() -> Fleet:
    """Nodes of the connected cluster.

    Raises:
        InputError: the file that its autoscaler follows cannot be read.
        UnreachableError: the head starts no worker that could look for it.
    """
    import ray

    living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Fleet.of(living, _autoscaler(living))


def describe(nodes: Sequence[Node]) -> str:
    """One line for people: ``head: 0 CPU, 0 GPU; may be started: up to 8 x trial: 8 CPU, 1 GPU``."""
    up = ", ".join(f"{node.host}: {_offers(node)}" for node in nodes if node.is_up)
    new = [node for node in nodes if not node.is_up]
    kinds = ", ".join(f"up to {new.count(node)} x {node.host}: {_offers(node)}" for node in dict.fromkeys(new))
    return f"{up}; may be started: {kinds}" if kinds else up


def pinned_to(node_id: str) -> Any:
    """Scheduling strategy of what must run on one node, or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def run_on(node_id: str, function: Callable[..., Any], *arguments: Any, retries: int = 0) -> Any:
    """Begin to run a plain function on one node, in a worker that holds no core.

    Args:
        node_id: Ray's id of the node.
        function: what to run; the node imports it, unless it stands inside another function.
        arguments: of the function.
        retries: how often it is begun again after its worker died.

    Returns:
        The reference, for ``ray.get``.
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
    # Only the newer autoscaler labels its nodes; the older one hands every node the resources of its type.
    return next((kind.name for kind in types if _telling(kind.resources) == _telling(has)), None)


def _telling(resources: Mapping[str, Any]) -> dict[str, float]:
    """Resources without those that Ray adds by itself and zeros."""
    added = ("node:", "memory", "object_store_memory", "accelerator_type:")
    return {key: float(value) for key, value in resources.items() if value and not key.startswith(added)}


# ---------------------------------------------------------------- where the autoscaler's file is


def _autoscaler(living: Sequence[Mapping[str, Any]]) -> Autoscaler | None:
    """What the connected cluster's autoscaler follows; None without one.

    Ray has no way to ask for it: the file's path is known to the autoscaler's process alone, on the head.
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
        found: Autoscaler | None = ray.get(run_on(heads[0], _read, port), timeout=_ASK_S)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, InputError) else error from None
    except ray.exceptions.RayError as error:
        raise UnreachableError(f"the head of the cluster did not start a worker in {_ASK_S:g} s: {error}") from error
    return found


def _read(gcs_port: str) -> Autoscaler | None:
    """On the head: find the autoscaler's process of this cluster, and read the file that it was given."""
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
                f"the file that the cluster's autoscaler follows cannot be read on its head: {error}",
                fix="run lft as the user that started the head",
            ) from error
    return None
