"""A profiling session: start the one replica, build model folders ahead, call and load the replica, shut down.

In: a `ServeSpec`, a connected Ray cluster without Serve. Out: a `ProfileSession`. Never leaves Serve running.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.cluster.driver import is_ending_by_force
from lft_ray.cluster.nodes import Fleet, fleet, run_on
from lft_ray.config import ServeSpec
from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.profile.replica import CONCURRENCY, PreparedFolder, ProfileReplica, ProfileRequest, build_request_folder
from lft_ray.serve.cluster.deployment import SERVE_RESOURCE
from lft_ray.serve.cluster.environment import cluster_environment, free_port, serving_environment
from lft_ray.serve.cluster.placement import Placement, place
from lft_ray.serve.cluster.replicas import run_application
from lft_ray.serve.cluster.start import serve_starting
from lft_ray.serve.loadgen import LoadResult, closed_loop, open_loop
from lft_ray.serve.patience import wait_while_moving
from lft_ray.serve.waiting import wait_healthy
from lft_ray.system import scratch
from lft_ray.wire import PredictionKind

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["Prebuilt", "ProfileSession", "prebuild", "profile_replica"]

_APP = "lft-profile"
MAX_PREBUILT_BYTES = 1_000_000_000
"""Total size of prebuilt folders in the temporary folder: a ladder of large models could fill the disk."""
_START_S = 90.0
"""Timeout of every call and wait on the replica once its node is up; see `place` for a node that has to start."""
_CANCEL_S = 5.0
"""Wait for a cancelled build to end."""


class Prebuilt:
    """Model folders under construction in a Ray task.

    Args:
        task: object reference of the task, which returns a `PreparedFolder` per request.
        requests: the requests of the folders, in order.
    """

    def __init__(self, task: Any, requests: Sequence[ProfileRequest]) -> None:
        self._task, self._requests = task, requests
        self._folders: dict[str, PreparedFolder] = {}

    def wait(self) -> None:
        """Wait until all folders are built. Raises the error of a failed build."""
        import ray

        folders = ray.get(self._task) if self._requests else []
        self._folders = {request.name: one for request, one in zip(self._requests, folders, strict=True)}

    def take(self, request: ProfileRequest) -> PreparedFolder | None:
        """The folder of a request, owned by the caller from here on; None: it was not built ahead."""
        return self._folders.pop(request.name, None)


@contextmanager
def prebuild(requests: Sequence[ProfileRequest], node: str) -> Iterator[Prebuilt]:
    """Start building the folders of the first requests in the background, while Serve starts.

    Builds up to `MAX_PREBUILT_BYTES`. All folders are deleted on exit.

    Args:
        requests: requests in the order of their measurement.
        node: id of the Ray node of this machine.
    """
    import ray

    chosen = _first_within(requests, MAX_PREBUILT_BYTES)
    with tempfile.TemporaryDirectory(prefix="lft-profile-", ignore_cleanup_errors=True) as folder:
        task = run_on(node, _build_folders, chosen, folder)
        try:
            yield Prebuilt(task, chosen)
        finally:
            if not is_ending_by_force():
                ray.cancel(task, force=True)
                # A task that still writes would recreate files after the folder is deleted.
                ray.wait([task], timeout=_CANCEL_S)


def _first_within(requests: Sequence[ProfileRequest], limit_bytes: int) -> list[ProfileRequest]:
    """The first requests whose folders fit into ``limit_bytes`` together, at 4 bytes per parameter."""
    chosen, size = [], 0
    for request in requests:
        size += 4 * request.size.params
        if size > limit_bytes:
            break
        chosen.append(request)
    return chosen


def _build_folders(requests: Sequence[ProfileRequest], folder: str) -> list[PreparedFolder]:
    return [build_request_folder(request, Path(folder)) for request in requests]


@dataclass(frozen=True, slots=True)
class ProfileSession:
    """The running replica: method calls through Ray, and HTTP load from its own node."""

    handle: "DeploymentHandle[Any]"
    url: str
    node: str
    """Id of the Ray node of the replica."""
    prebuilt: Prebuilt | None = None

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of `ProfileReplica`."""
        return getattr(self.handle, method).remote(*arguments).result(timeout_s=_START_S)

    def prepare(
        self, request: ProfileRequest | None, inputs: tuple[int, PredictionKind] = (1, "labels")
    ) -> PreparedFolder | None:
        """Make the replica serve ``request``; None: the empty model.

        Args:
            request: architecture.
            inputs: of the empty model, the texts of one input, and what predictions consist of.

        Returns:
            The folder that is served, or one with ``refused`` set if no engine can; None for the empty model.

        Raises:
            LftError: the replica cannot open the folder.
        """
        made: PreparedFolder | None = None
        if request is not None:
            made = self.prebuilt.take(request) if self.prebuilt else None
            made = made or self._run_on_node(build_request_folder, request)
        if made is not None and made.refused:
            return made
        reason = self.call("prepare", request, made, inputs)
        if reason:
            raise LftError(f"{request.size.name if request else 'the empty model'} cannot be profiled: {reason}")
        return made

    def load(self, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
        """Send HTTP load for ``seconds``: open loop at a rate; None: closed loop with `CONCURRENCY` connections.

        Raises:
            LftError: no request succeeded.
        """
        result: LoadResult = self._run_on_node(_send, self.url, bodies, seconds, requests_per_s)
        if not result.ok:
            raise LftError(f"no request to the profiled replica succeeded: {result.statuses}")
        return result

    def wait_routed(self) -> None:
        """Wait for the proxy on the node of the replica, which starts after the replica if the node is new.

        Raises:
            UnreachableError: the proxy does not respond in time.
        """
        if problem := self._run_on_node(wait_healthy, self.url, _START_S):
            raise UnreachableError(f"the proxy beside the profiled replica did not respond: {problem}")

    def _run_on_node(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in a Ray task on the node of the replica."""
        import ray

        return ray.get(run_on(self.node, function, *arguments))


def _send(url: str, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
    if requests_per_s is None:
        return asyncio.run(closed_loop(url, bodies, connections=CONCURRENCY, seconds=seconds))
    return asyncio.run(open_loop(url, bodies, requests_per_s=requests_per_s, seconds=seconds))


@contextmanager
def profile_replica(spec: ServeSpec, requests: Sequence[ProfileRequest]) -> Iterator[ProfileSession]:
    """Start the replica with the cores of production; shut Serve down on exit.

    Args:
        spec: serving settings, as in production.
        requests: requests in the order of their measurement.

    Raises:
        InputError: the cluster already runs Serve, or a replica can never fit.
        UnreachableError: the replica, or a node for it, did not start in time.
    """
    import ray
    from ray import serve

    # Serve logs every step of its start; the stage reports it in one line.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _refuse_other_serve()
    nodes = fleet()
    placement = place(spec, nodes, replicas=1, wait_s=_START_S)
    # A short path, because it contains unix sockets, whose paths Linux limits to 108 bytes.
    own = scratch.make("lft-p-", scratch.short_parent(executable=True))
    port = free_port()
    try:
        with ExitStack() as stack:
            prebuilt = None
            # Only on one machine: elsewhere the replica may be placed on a node that cannot read folders built here.
            if nodes.size == 1:
                prebuilt = stack.enter_context(prebuild(requests, ray.get_runtime_context().get_node_id()))
            with serve_starting("127.0.0.1", port, variables=_variables(own.path, nodes)):
                handle = _started(spec, placement)
            node = handle.node.remote().result(timeout_s=_START_S)
            session = ProfileSession(handle, f"http://127.0.0.1:{port}/", node, prebuilt)
            session.wait_routed()
            if prebuilt is not None:
                # Before the first measurement: a build beside it would take its cores.
                prebuilt.wait()
            yield session
    finally:
        if not is_ending_by_force():
            serve.shutdown()  # type: ignore[no-untyped-call]
        own.remove()


def _started(spec: ServeSpec, placement: Placement) -> "DeploymentHandle[Any]":
    """Start the replica and wait for it. Not with `serve.run`, which waits forever if no node can host the replica."""
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    target = serve.RunTarget(target=_app(spec, placement), name=_APP, route_prefix="/")
    handle = run_application(target)
    details = ""

    def is_running() -> bool:
        nonlocal details
        app = serve.status().applications[_APP]
        details = "; ".join(d.message for d in app.deployments.values() if d.message) or app.message
        if app.status == ApplicationStatus.DEPLOY_FAILED:
            raise LftError(f"the replica for profiling failed to start: {details}")
        return app.status == ApplicationStatus.RUNNING

    if not wait_while_moving(is_running, timeout_s=placement.wait_s):
        raise UnreachableError(
            f"the replica for profiling was not ready within {placement.wait_s:.0f} s: {details}",
            fix=placement.hint,
        )
    return handle


def _variables(folder: Path, nodes: Fleet) -> dict[str, str]:
    found = serving_environment(folder) if nodes.size == 1 else cluster_environment(str(folder))
    # No clients depend on this replica, so skip the draining period at shutdown.
    return found | {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0"}


def _app(spec: ServeSpec, placement: Placement) -> Any:
    from ray import serve

    resources = {SERVE_RESOURCE: 0.001} if placement.use_resource else {}
    deployment = serve.deployment(
        name="probe",
        num_replicas=1,
        ray_actor_options={"num_cpus": spec.cpus_per_replica, "resources": resources},
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )(serve.ingress()(ProfileReplica))
    return deployment.bind(spec.cpus_per_replica, spec.preset)


def _refuse_other_serve() -> None:
    from ray.util import list_named_actors

    if any(actor["namespace"] == "serve" for actor in list_named_actors(all_namespaces=True)):
        raise InputError(
            "the cluster already runs Ray Serve, and profiling needs an instance of its own",
            fix="search on another cluster (leave cluster.address empty), or `serve shutdown` there first",
        )
