"""Connect to Ray, count what there is, refuse at once what can't fit. Stops only what it started.

In: `ClusterSpec`. Out: `ClusterHandle`, a context manager. Without an address a cluster is started on this machine,
in its own temporary folder; with one, an existing cluster is used as it is, after a probe that takes seconds. Where
that has an autoscaler, nodes that it may start count like those that are up.
"""

import logging
import math
import os
import re
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from lft_ray.cluster.environment import WORKER_ENV, environment_variables
from lft_ray.cluster.nodes import SCALE_UP_S, Node, describe, fleet, run_on
from lft_ray.config import ClusterSpec, ResourcesSpec, TrainingSpec
from lft_ray.errors import InputError, UnreachableError, first_line

__all__ = [
    "WORKER_ENV",
    "ClusterHandle",
    "Node",
    "check_environments",
    "check_reachable",
    "connect",
    "resolve_address",
    "this_machine",
]  # fmt: skip

REACHABLE_S = 4.0
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


def check_reachable(target: str) -> None:
    """Ask for HTTP/2 settings. ``ray.init`` itself hangs for 122 s on a closed port and on a web server (2.60)."""
    host, _, port = target.rpartition(":")
    answer = b""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            connection.settimeout(REACHABLE_S)
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


_LOCAL_ENV = WORKER_ENV | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_EXISTING_ENV = WORKER_ENV | {
    # The workers of a sharded trial may wait for nodes that the autoscaler starts; Ray Train gives up after a minute.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{SCALE_UP_S:g}"
}
TEMP_PREFIX = "lft-ray-"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ClusterHandle:
    """A connected cluster; leaving its context disconnects, and stops it if `connect` started it.

    Attributes:
        address: ``host:port`` of the cluster's head.
        nodes: living nodes, and those that its autoscaler may start.
        owned: whether leaving the context stops the cluster.
        may_start: at most so many of the latter, all node types together.
    """

    address: str
    nodes: tuple[Node, ...]
    owned: bool
    connected_here: bool = True
    temp_dir: Path | None = None
    may_start: int = 0
    _environment: ExitStack = field(default_factory=ExitStack)
    """Gives the process its own environment back."""

    @property
    def cpus(self) -> float:
        """Cores of all nodes that are up or may be."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """Accelerators of all nodes that are up or may be."""
        return sum(node.gpus for node in self.nodes)

    def gpus_per_worker(self, resources: ResourcesSpec) -> float:
        """Accelerators that one training worker holds; ``auto`` is one where the cluster has any."""
        if resources.gpu == "auto":
            return 1.0 if self.gpus else 0.0
        return resources.gpu

    def workers_that_fit(self, resources: ResourcesSpec, *, up_only: bool = False) -> int:
        """Training workers that run at the same time, on all nodes or on those that are up; none is spread over two."""
        gpu = self.gpus_per_worker(resources)

        def holds(node: Node) -> int:
            by_cpu = math.floor(node.cpus / resources.cpu + 1e-9)
            return min(by_cpu, math.floor(node.gpus / gpu + 1e-9)) if gpu else by_cpu

        new = sorted((holds(node) for node in self.nodes if not node.is_up), reverse=True)
        return sum(holds(node) for node in self.nodes if node.is_up) + sum(new[: 0 if up_only else self.may_start])

    def slots(self, training: TrainingSpec) -> int:
        """Trials that run at the same time."""
        return self.workers_that_fit(training.resources) // training.worker_count

    def preflight(self, training: TrainingSpec, storage: str) -> None:
        """Refuse a trial that could never be placed, and storage that other nodes can't see.

        Args:
            training: what each trial holds.
            storage: the experiment's ``storage`` as written; a URI with a scheme (``file://`` too) is taken as shared.

        Raises:
            InputError: with what is asked, what there is and what to set.
        """
        gpu = self.gpus_per_worker(training.resources)
        if training.worker_count > 1 and gpu % 1:
            raise InputError(
                f"training.resources.gpu is {gpu:g} with {training.worker_count} workers: expected whole devices, "
                "since workers that share one cannot exchange gradients",
                fix="--set training.resources.gpu=1, or --set training.workers=1",
            )
        asked = f"{training.worker_count} x ({training.resources.cpu:g} CPU, {gpu:g} GPU)"
        if self.slots(training) < 1:
            raise InputError(
                f"a trial asks for {asked}, and the cluster has {describe(self.nodes)}",
                fix="lower training.workers or training.resources, or use a larger cluster",
            )
        up = [node for node in self.nodes if node.is_up]
        count = len(up) + self.may_start
        if count > 1 and not re.match(r"^[a-z][a-z0-9+.-]*://", storage):
            raise InputError(
                f"storage {storage!r} is a local path and the cluster {'may have' if self.may_start else 'has'} "
                f"{count} nodes",
                fix="use s3:// or gs://, or file:///path if every node mounts that path",
            )
        if self.workers_that_fit(training.resources, up_only=True) < training.worker_count:
            # A warning is seen wherever the study runs, also in the log of a job, without any setting.
            logger.warning("no node is up that holds a trial (%s): they wait for the autoscaler", asked)

    def close(self) -> None:
        """Disconnect, and stop the cluster if it was started here."""
        import ray

        if self.connected_here and ray.is_initialized():
            ray.shutdown()
        if self.temp_dir is not None:
            shutil.rmtree(self.temp_dir, ignore_errors=True)
        self._environment.close()

    def __enter__(self) -> "ClusterHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def this_machine() -> ClusterHandle:
    """A handle that knows this machine's cores and accelerators and is connected to nothing: for a plan."""
    # The driver of an NVIDIA device lists them here; Ray looks at the same devices through NVML.
    gpus = Path("/proc/driver/nvidia/gpus")
    count = len(list(gpus.iterdir())) if gpus.is_dir() else 0
    node = Node("this machine", float(os.cpu_count() or 1), float(count))
    return ClusterHandle("", (node,), owned=False, connected_here=False)


def connect(spec: ClusterSpec, *, object_store_mb: int = 256, needs_dashboard: bool = False) -> ClusterHandle:
    """Start a cluster on this machine, or connect to an existing one.

    A process that is connected to Ray already keeps its connection when no address is asked for.

    Args:
        spec: which cluster.
        object_store_mb: object store of a cluster that is started here.
        needs_dashboard: sharded trials need it: its State API frees their placement groups.

    Raises:
        UnreachableError: nothing answers at the address, or it is not a Ray cluster; within ten seconds.
        InputError: the cluster's environment lacks lft_ray, or has another version of it, Python or Ray.
    """
    # Read when Ray is imported. Profiling stops its Serve, whose open calls are then reported as failed, and on
    # stdout at that: nothing that a user could act on, and stdout is for data.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", r"Task ServeController\.")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if spec.address is not None:
        return _connect_existing(spec.address)
    if ray.is_initialized():
        found = fleet()
        return ClusterHandle(_gcs_address(), found.nodes, owned=False, connected_here=False, may_start=found.may_start)
    return _start_local(object_store_mb, needs_dashboard)


def _start_local(object_store_mb: int, needs_dashboard: bool) -> ClusterHandle:
    import ray

    _sweep_dead_folders()
    environment = ExitStack()
    environment.enter_context(environment_variables(**_LOCAL_ENV))
    # Unix sockets allow 107 characters, so the folder's path must be short whatever TMPDIR says.
    parent = "/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()
    temp_dir = Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{os.getpid()}-", dir=parent))
    try:
        ray.init(
            address="local",
            include_dashboard=needs_dashboard,
            dashboard_host="127.0.0.1",
            object_store_memory=object_store_mb * 1024 * 1024,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(temp_dir),
        )
    except BaseException:
        shutil.rmtree(temp_dir, ignore_errors=True)
        environment.close()
        raise
    return ClusterHandle(_gcs_address(), fleet().nodes, owned=True, temp_dir=temp_dir, _environment=environment)


def _connect_existing(address: str) -> ClusterHandle:
    import ray

    if "://" in address:
        raise InputError(
            f"cluster.address {address!r} is not host:port",
            fix="Ray Client (ray://) is not supported: run lft on the head node with cluster.address=auto",
        )
    target = resolve_address(address)
    check_reachable(target)
    if ray.is_initialized():
        raise InputError(
            f"this process is connected to {_gcs_address()} already, and cluster.address is {address!r}",
            fix="leave cluster.address empty to use the connection, or call ray.shutdown() first",
        )
    if "RAY_AUTH_MODE" not in os.environ and (Path.home() / ".ray" / "auth_token").is_file():
        # Ray itself turns tokens on for address="auto" only. It caches the mode at import, so it is told to look again.
        from ray._raylet import Config  # type: ignore[attr-defined]

        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")
    try:
        ray.init(
            address=target,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _EXISTING_ENV},
        )
    except Exception as error:
        raise UnreachableError(
            f"the Ray cluster at {target} refused the connection: {first_line(error)}",
            fix="run lft with the cluster's versions of Python and Ray and its token (~/.ray/auth_token)",
        ) from error
    try:
        check_environments(target)
        found = fleet()
    except BaseException:
        ray.shutdown()
        raise
    return ClusterHandle(target, found.nodes, owned=False, may_start=found.may_start)


def _gcs_address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _sweep_dead_folders() -> None:
    """Remove temporary folders of drivers that were killed before they could."""
    import psutil

    for folder in Path("/tmp").glob(f"{TEMP_PREFIX}*"):
        pid = folder.name.removeprefix(TEMP_PREFIX).partition("-")[0]
        # A minute of grace: the raylet outlives a killed driver by some seconds.
        with suppress(OSError):
            if pid.isdigit() and not psutil.pid_exists(int(pid)) and time.time() - folder.stat().st_mtime > 60:
                shutil.rmtree(folder, ignore_errors=True)
