"""Start a Ray cluster on this machine, or connect to an existing one, and check that trials fit on it.

In: `ClusterSpec`. Out: `ClusterHandle`, a context manager. Without an address, a cluster is started in its own
temporary folder. With an address, the existing cluster is used unchanged, after checks of reachability, tokens and
versions that take seconds; if it has an autoscaler, nodes that may be started count like running ones. Never stops a
cluster that it did not start.
"""

import logging
import math
import os
import re
import shutil
import socket
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from lft_ray.cluster.driver import (
    ended_by_force,
    forget_token,
    has_token,
    job_config,
    keeping_signals,
    keeping_sigterm,
    own_token,
    shut_down,
)
from lft_ray.cluster.environment import WORKER_ENV, environment_variables
from lft_ray.cluster.nodes import SCALE_UP_S, Node, describe, fleet, run_on
from lft_ray.cluster.start import PATIENCE_ENV, RAYLET_S, START_TIMEOUT_WORDS, starting_ray
from lft_ray.cluster.watch import CoreWatch, end_started
from lft_ray.config import ClusterSpec, ResourcesSpec, TrainingSpec
from lft_ray.errors import InputError, UnreachableError, first_line
from lft_ray.system import scratch, signals
from lft_ray.system.limits import cores
from lft_ray.system.scratch import Scratch

__all__ = [
    "WORKER_ENV", "ClusterHandle", "Node", "check_environments", "check_reachable", "connect", "resolve_address",
    "this_machine",
]  # fmt: skip

CONNECT_TIMEOUT_S = 4.0
"""Seconds to wait for a TCP connection, and for each read of the response."""
UNAUTHENTICATED_ENV = "LFT_ALLOW_UNAUTHENTICATED_CLUSTER"
"""Environment variable: 1 accepts an existing cluster without token authentication."""
WORKER_START_S = 60.0
"""Seconds to wait until a node has started a worker."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""HTTP/2 connection preface and an empty SETTINGS frame, to which every gRPC server must reply with its own
SETTINGS."""
_LOCAL_ENV = {
    **WORKER_ENV,
    **PATIENCE_ENV,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's workers run at nice 15 by default: beside any other work, a trial got a tenth of a core while the minutes of
    # the search went by. The cluster is ours alone, and so are its processes.
    "RAY_worker_niceness": "0",
}
START_ATTEMPTS = 2
SHUTDOWN_S = 4.0
"""Seconds for disconnecting from a cluster that is dead."""
_EXISTING_ENV = WORKER_ENV | {
    # The workers of a sharded trial may wait for new nodes from the autoscaler; Ray Train's default is one minute.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{SCALE_UP_S:g}"
}
TEMP_PREFIX = "lft-ray-"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ClusterHandle:
    """A connected cluster; leaving the context disconnects, and stops the cluster if `connect` started it.

    Attributes:
        address: ``host:port`` of the head node.
        nodes: running nodes, and nodes that the autoscaler may start.
        owned: whether leaving the context stops the cluster.
        connected_here: whether leaving the context closes the connection to Ray.
        temp_dir: temporary folder of an owned cluster, deleted at the end.
        scratch: the same folder with its lock, which tells a sweep that this process lives.
        may_start: maximum number of nodes that the autoscaler may start, all node types together.
    """

    address: str
    nodes: tuple[Node, ...]
    owned: bool
    connected_here: bool = True
    temp_dir: Path | None = None
    scratch: Scratch | None = None
    may_start: int = 0
    watch: CoreWatch | None = None
    """Looks after the core processes of an owned cluster."""
    _environment: ExitStack = field(default_factory=ExitStack)
    """Restores the environment variables of this process on exit."""

    @property
    def cpus(self) -> float:
        """CPU cores of all nodes, running or startable."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """Accelerators of all nodes, running or startable."""
        return sum(node.gpus for node in self.nodes)

    def gpus_per_worker(self, resources: ResourcesSpec) -> float:
        """Accelerators per training worker; ``auto`` is 1 if the cluster has any, else 0."""
        if resources.gpu == "auto":
            return 1.0 if self.gpus else 0.0
        return resources.gpu

    def workers_that_fit(self, resources: ResourcesSpec, *, up_only: bool = False) -> int:
        """Number of training workers that fit at the same time. A worker never spans two nodes.

        Args:
            resources: resources of one worker.
            up_only: count running nodes only, without those that the autoscaler may start.
        """
        gpu = self.gpus_per_worker(resources)

        def capacity(node: Node) -> int:
            # The small term absorbs rounding: 0.6 / 0.2 is slightly less than 3.
            by_cpu = math.floor(node.cpus / resources.cpu + 1e-9)
            return min(by_cpu, math.floor(node.gpus / gpu + 1e-9)) if gpu else by_cpu

        new = sorted((capacity(node) for node in self.nodes if not node.is_up), reverse=True)
        return sum(capacity(node) for node in self.nodes if node.is_up) + sum(new[: 0 if up_only else self.may_start])

    def slots(self, training: TrainingSpec) -> int:
        """Number of trials that can run at the same time."""
        return self.workers_that_fit(training.resources) // training.worker_count

    def preflight(self, training: TrainingSpec, storage: str) -> None:
        """Refuse trials that could never be scheduled, and storage that other nodes cannot access.

        Args:
            training: resources and workers of a trial.
            storage: ``storage`` as written in the experiment; a URI with a scheme (also ``file://``) counts as shared.

        Raises:
            InputError: with the requested and the available resources, and the setting to change.
        """
        gpu = self.gpus_per_worker(training.resources)
        if training.worker_count > 1 and gpu % 1:
            raise InputError(
                f"training.resources.gpu is {gpu:g} with {training.worker_count} workers: expected whole devices, "
                "since workers that share a device cannot exchange gradients",
                fix="--set training.resources.gpu=1, or --set training.workers=1",
            )
        request = f"{training.worker_count} x ({training.resources.cpu:g} CPU, {gpu:g} GPU)"
        if self.slots(training) < 1:
            raise InputError(
                f"a trial requires {request}, but the cluster has {describe(self.nodes)}",
                fix="lower training.workers or training.resources, or use a larger cluster",
            )
        up = [node for node in self.nodes if node.is_up]
        count = len(up) + self.may_start
        if count > 1 and not re.match(r"^[a-z][a-z0-9+.-]*://", storage):
            raise InputError(
                f"storage {storage!r} is a local path, but the cluster {'may have' if self.may_start else 'has'} "
                f"{count} nodes",
                fix="use s3:// or gs://, or file:///path if every node mounts that path",
            )
        if self.workers_that_fit(training.resources, up_only=True) < training.worker_count:
            # A warning is shown wherever the study runs, also in the log of a Ray job, without configuration.
            logger.warning("no running node can hold a trial (%s): trials wait for the autoscaler", request)

    def close(self) -> None:
        """Disconnect, and stop the cluster if `connect` started it."""
        import ray

        is_dead = self.watch is not None and self.watch.failure is not None
        if self.watch is not None:
            self.watch.close()
        if self.owned and signals.received() is not None:
            # The process leaves next and ends the cluster by force: Ray's own shutdown takes seconds, or crashes.
            return
        if self.connected_here and ray.is_initialized():
            if is_dead:
                _shut_down_dead(self.watch)
                if self.scratch is not None:
                    scratch.end_users_of(self.scratch.path)
            else:
                shut_down()
        self._environment.close()
        if self.scratch is not None:
            self.scratch.remove()
            if is_dead and self.scratch.path.exists():
                # An agent that the watch had not seen yet wrote its log, in a folder that nobody owns now.
                scratch.end_users_of(self.scratch.path)
                shutil.rmtree(self.scratch.path, ignore_errors=True)

    def __enter__(self) -> "ClusterHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever the dead cluster made of it (an interrupt, a lost actor, a timeout), this is the reason.
        failure = self.watch.failure if self.watch is not None else None
        self.close()
        if failure is not None and (kind is None or issubclass(kind, Exception | KeyboardInterrupt)):
            raise failure from error

    def raise_if_dead(self) -> None:
        """Raise the error of a cluster whose core processes died.

        Raises:
            UnreachableError: the raylet or the GCS of the owned cluster died.
        """
        if self.watch is not None:
            self.watch.raise_if_dead()


def _shut_down_dead(watch: CoreWatch | None) -> None:
    """Disconnect from a cluster that is dead: its calls may never return, so they have a few seconds in a thread."""
    import ray

    if watch is not None:
        watch.end_family()
    thread = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
    with keeping_sigterm():
        thread.start()
        thread.join(timeout=SHUTDOWN_S)


def this_machine() -> ClusterHandle:
    """Return an unconnected handle with the cores and accelerators of this machine, for a plan."""
    # The NVIDIA driver lists its devices here; Ray reads the same devices through NVML.
    gpus = Path("/proc/driver/nvidia/gpus")
    count = len(list(gpus.iterdir())) if gpus.is_dir() else 0
    node = Node("this machine", float(cores()), float(count))
    return ClusterHandle("", (node,), owned=False, connected_here=False)


def connect(spec: ClusterSpec, *, object_store_mb: int = 256, needs_dashboard: bool = False) -> ClusterHandle:
    """Start a cluster on this machine, or connect to an existing one.

    A process that is already connected to Ray keeps its connection if no address is given.

    Args:
        spec: address of an existing cluster, or none to start one.
        object_store_mb: size in MB of the object store of a started cluster.
        needs_dashboard: start the dashboard too; its State API frees the placement groups of sharded trials.

    Raises:
        UnreachableError: within ten seconds, if no Ray cluster is reachable at the address.
        InputError: the nodes lack lft_ray, or have another version of it, of Python or of Ray.
    """
    # Set before Ray is imported, which reads it. When profiling shuts Serve down, Ray prints the calls in flight as
    # failed tasks on stdout: no user could act on that, and stdout is for data.
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

    scratch.sweep()  # what drivers that were killed have left
    # Paths of Unix sockets are limited to 107 characters, so the folder must be short, whatever TMPDIR is.
    made = scratch.make(TEMP_PREFIX, scratch.short_parent())
    environment = ExitStack()
    environment.callback(forget_token)
    environment.enter_context(environment_variables(**_LOCAL_ENV, **own_token(made.path)))
    environment.enter_context(ended_by_force(made.path))
    forget_token()
    try:
        _init_local(made.path, object_store_mb, needs_dashboard=needs_dashboard)
        watch = CoreWatch(made.remove, str(made.path))
        watch.start()
        return ClusterHandle(
            _gcs_address(),
            fleet().nodes,
            owned=True,
            temp_dir=made.path,
            scratch=made,
            watch=watch,
            _environment=environment,
        )
    except BaseException:
        if signals.received() is None:
            shut_down()
            environment.close()
            # Agents of a raylet that has died at its start would create the folder anew.
            scratch.end_users_of(made.path)
            made.remove()
        raise


def _init_local(folder: Path, object_store_mb: int, *, needs_dashboard: bool) -> None:
    """Start Ray in this process, once more if the machine was too busy.

    Raises:
        UnreachableError: Ray did not start in time.
    """
    import ray

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with keeping_signals(), starting_ray(with_dashboard=needs_dashboard):
                ray.init(
                    address="local",
                    num_cpus=cores(),
                    include_dashboard=needs_dashboard,
                    dashboard_host="127.0.0.1",
                    object_store_memory=object_store_mb * 1024 * 1024,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    job_config=job_config(),
                    _temp_dir=str(folder),
                )
        except Exception as error:
            shut_down()
            end_started(str(folder))
            if START_TIMEOUT_WORDS not in str(error):
                raise
            if attempt == START_ATTEMPTS:
                raise UnreachableError(
                    f"Ray did not start on this machine in {START_ATTEMPTS} attempts of {RAYLET_S:g} s: it is too busy",
                    fix="try again when less runs beside it",
                ) from error
        else:
            return


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
            f"this process is already connected to {_gcs_address()}, but cluster.address is {address!r}",
            fix="leave cluster.address empty to use this connection, or call ray.shutdown() first",
        )
    if "RAY_AUTH_MODE" not in os.environ and has_token():
        # Ray enables tokens by itself for address="auto" only. It caches the mode at import, so it must be re-read.
        from ray._raylet import Config  # type: ignore[attr-defined]

        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")
    try:
        with keeping_signals():
            ray.init(
                address=target,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _EXISTING_ENV},
            )
    except Exception as error:
        raise UnreachableError(
            f"the Ray cluster at {target} refused the connection: {first_line(error)}",
            fix="use the versions of Python and Ray of the cluster, and its token (~/.ray/auth_token, "
            "or RAY_AUTH_TOKEN_PATH)",
        ) from error
    try:
        check_environments(target)
        found = fleet()
    except BaseException:
        shut_down()
        raise
    return ClusterHandle(target, found.nodes, owned=False, may_start=found.may_start)


def resolve_address(address: str) -> str:
    """Resolve ``auto`` to host:port, from RAY_ADDRESS or from the file that ``ray start`` writes on this machine.

    Raises:
        InputError: the address is not host:port.
        UnreachableError: ``auto``, but no cluster was started on this machine.
    """
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(f"cluster.address {address!r} is not host:port", fix="for example 10.0.0.5:6379, or auto")
        return address
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    address_file = Path(os.environ.get("RAY_TMPDIR", scratch.system_folder())) / "ray" / "ray_current_cluster"
    with suppress(OSError):
        if found := address_file.read_text(encoding="utf-8").strip():
            return found
    raise UnreachableError(
        "cluster.address is auto, and no Ray cluster was started on this machine",
        fix="run `ray start --head` first, or leave cluster.address empty to start a cluster for the study",
    )


def check_reachable(target: str) -> None:
    """Check that a gRPC server listens at host:port, since ``ray.init`` hangs for 122 s if not (Ray 2.60).

    Raises:
        UnreachableError: the port is closed, silent, or speaks another protocol.
    """
    host, _, port = target.rpartition(":")
    header = b""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return  # a plain-text preface would be refused
            connection.settimeout(CONNECT_TIMEOUT_S)
            connection.sendall(HTTP2_PREFACE)
            # A frame header has 9 bytes; the fourth is the type, 4 for SETTINGS.
            while len(header) < 9 and (part := connection.recv(9 - len(header))):
                header += part
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"no Ray cluster is reachable at {target}: {error}",
            fix="check cluster.address, and that the port of the head node is open from this machine",
        ) from error
    if len(header) < 9 or header[3] != 4:
        raise UnreachableError(
            f"the server at {target} is not a Ray cluster", fix="use the GCS port of the head node, 6379 by default"
        )


def check_environments(address: str) -> None:
    """Check on every node that the version of lft_ray and the token authentication match this driver.

    The code of the driver is not sent to the nodes: they need lft_ray installed. A driver with tokens on a cluster
    without them could start tasks but would wait forever for a replica, so the combination is refused here.

    Args:
        address: host:port of the cluster, for the error message.

    Raises:
        InputError: a node lacks lft_ray or has another version.
        UnreachableError: a node starts no worker, or differs in token authentication.
    """
    import ray

    def installed() -> tuple[str, str]:
        # Nested, so that Ray pickles it by value: a node without lft_ray can still run it and report that.
        from importlib import import_module

        from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

        mode = "disabled" if get_authentication_mode() == AuthenticationMode.DISABLED else "token"
        try:
            return str(import_module("lft_ray").__version__), mode
        except ImportError as error:
            return f"none ({error})", mode

    alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    pending = {host: run_on(node_id, installed) for node_id, host in alive.items()}
    here = installed()
    for host, reference in pending.items():
        try:
            there = ray.get(reference, timeout=WORKER_START_S)
        except ray.exceptions.RayError as error:
            raise UnreachableError(
                f"node {host} of the cluster did not start a worker in {WORKER_START_S:g} s: {first_line(error)}"
            ) from error
        _check_same(f"node {host} of the cluster at {address}", there, here)


def _check_same(node: str, there: tuple[str, str], here: tuple[str, str]) -> None:
    """Compare (version of lft_ray, token mode) of a node with that of the driver."""
    (version, mode), (own_version, own_mode) = there, here
    if mode != own_mode:
        raise UnreachableError(
            f"{node} has token authentication {mode}, this driver has {own_mode}",
            fix=f"export RAY_AUTH_MODE={mode}, or better: start the cluster with RAY_AUTH_MODE=token",
        )
    if mode == "disabled" and os.environ.get(UNAUTHENTICATED_ENV) != "1":
        # Ray's ports run code for whoever reaches them: CVE-2023-48022, used in the wild since 2023.
        raise InputError(
            f"{node} lets in everybody: token authentication is disabled, and whoever reaches its ports can run code",
            fix="start it with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes the token); in a network "
            f"that only you can reach, {UNAUTHENTICATED_ENV}=1 accepts it as it is",
        )
    if version != own_version:
        raise InputError(
            f"{node} has lft_ray {version}; this driver has {own_version}",
            fix=f"pip install lft-ray=={own_version} in the environment of every node",
        )


def _gcs_address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)
