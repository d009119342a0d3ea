"""The one replica that profiles are measured in, and how it is asked and loaded. Leaves no Serve behind.

In: a `ServeSpec`, a connected Ray cluster without Serve. Out: a `ProfileSession`.
"""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.cluster.nodes import Fleet, fleet, run_on
from lft_ray.config import ServeSpec
from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.profile.replica import CONCURRENCY, PreparedFolder, ProfileReplica, ProfileRequest, make_folder_of
from lft_ray.serve.cluster.deployment import SERVE_RESOURCE
from lft_ray.serve.cluster.environment import cluster_environment, free_port, serving_environment
from lft_ray.serve.cluster.placement import Placement, place
from lft_ray.serve.cluster.start import serve_starting
from lft_ray.serve.loadgen import LoadResult, closed_loop, open_loop
from lft_ray.serve.waiting import wait_healthy, wait_until

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["Prebuilt", "ProfileSession", "prebuild", "profile_replica"]

LIMIT_BYTES = 1_000_000_000
"""Of folders that may lie in the temporary folder at a time: a ladder of large models is more than a disk may hold."""
_END_S = 5.0


class Prebuilt:
    """Folders that are being made.

    Args:
        task: Ray's reference of them.
        requests: that they are made for, in order.
    """

    def __init__(self, task: Any, requests: Sequence[ProfileRequest]) -> None:
        self._task, self._requests = task, requests
        self._made: dict[str, PreparedFolder] = {}

    def wait(self) -> None:
        """Return when all are made. Raises what making one of them raised."""
        import ray

        made = ray.get(self._task) if self._requests else []
        self._made = {request.name: one for request, one in zip(self._requests, made, strict=True)}

    def take(self, request: ProfileRequest) -> PreparedFolder | None:
        """The folder of a request, the caller's to remove; None: it was not made ahead."""
        return self._made.pop(request.name, None)


@contextmanager
def prebuild(requests: Sequence[ProfileRequest], node: str) -> Iterator[Prebuilt]:
    """Begin to make the folders of as many of the first requests as a disk may hold; at the end none is left.

    Args:
        requests: in the order in which they will be asked for.
        node: id of the Ray node on this machine.
    """
    import ray

    chosen = _first(requests, LIMIT_BYTES)
    with tempfile.TemporaryDirectory(prefix="lft-profile-", ignore_cleanup_errors=True) as folder:
        task = run_on(node, _make, chosen, folder)
        try:
            yield Prebuilt(task, chosen)
        finally:
            ray.cancel(task, force=True)
            # What it still writes would be left behind.
            ray.wait([task], timeout=_END_S)


def _first(requests: Sequence[ProfileRequest], limit_bytes: int) -> list[ProfileRequest]:
    chosen, size = [], 0
    for request in requests:
        size += 4 * request.size.params
        if size > limit_bytes:
            break
        chosen.append(request)
    return chosen


def _make(requests: Sequence[ProfileRequest], folder: str) -> list[PreparedFolder]:
    return [make_folder_of(request, Path(folder)) for request in requests]


_APP = "lft-profile"
_START_S = 90.0
"""Longest wait for anything of the replica whose node is up; see `place` for one that is not."""


@dataclass(frozen=True, slots=True)
class ProfileSession:
    """A replica that can be asked, and loaded over HTTP from its own node."""

    handle: "DeploymentHandle[Any]"
    url: str
    node: str
    ahead: Prebuilt | None = None

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of `ProfileReplica`."""
        return getattr(self.handle, method).remote(*arguments).result(timeout_s=_START_S)

    def prepare(self, request: ProfileRequest | None) -> PreparedFolder | None:
        """Let the replica serve ``request``, unless no engine can (``refused``); None: the empty model."""
        made: PreparedFolder | None = None
        if request is not None:
            made = self.ahead.take(request) if self.ahead else None
            made = made or self._near(make_folder_of, request)
        if made is not None and made.refused:
            return made
        reason = self.ask("prepare", request, made)
        if reason:
            raise LftError(f"{request.size.name if request else 'the empty model'} cannot be profiled: {reason}")
        return made

    def load(self, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
        """Load the replica over HTTP: open loop at a rate, or closed loop with `CONCURRENCY` connections."""
        result: LoadResult = self._near(_send, self.url, bodies, seconds, requests_per_s)
        if not result.ok:
            raise LftError(f"the profiled replica answered no request: {result.statuses}")
        return result

    def wait_routed(self) -> None:
        """Wait for the proxy of the replica's own node: it starts after the replica where that node has just come up.

        Raises:
            UnreachableError: it does not answer in time.
        """
        if problem := self._near(wait_healthy, self.url, _START_S):
            raise UnreachableError(f"the proxy beside the profiled replica did not answer: {problem}")

    def _near(self, function: Callable[..., Any], *arguments: Any) -> Any:
        import ray

        return ray.get(run_on(self.node, function, *arguments))


def _send(url: str, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
    if requests_per_s is None:
        return asyncio.run(closed_loop(url, bodies, connections=CONCURRENCY, seconds=seconds))
    return asyncio.run(open_loop(url, bodies, requests_per_s=requests_per_s, seconds=seconds))


@contextmanager
def profile_replica(spec: ServeSpec, requests: Sequence[ProfileRequest]) -> Iterator[ProfileSession]:
    """Start the replica with the cores that production gives it; the end takes Serve down.

    Args:
        spec: as in production.
        requests: what it will be asked for, in order.

    Raises:
        InputError: the cluster serves already, or a replica can never fit.
        UnreachableError: the replica, or a node for it, did not come up in time.
    """
    import ray
    from ray import serve

    # Serve tells what it starts line by line; the study says that in one.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _refuse_other_serve()
    room = fleet()
    placement = place(spec, room, replicas=1, wait_s=_START_S)
    folder = Path(tempfile.mkdtemp(prefix="lft-", dir="/tmp" if Path("/tmp").is_dir() else None))
    port = free_port()
    try:
        with ExitStack() as stack:
            ahead = None
            if room.size == 1:
                ahead = stack.enter_context(prebuild(requests, ray.get_runtime_context().get_node_id()))
            with serve_starting("127.0.0.1", port, variables=_variables(folder, room)):
                handle = _started(spec, placement)
            node = handle.node.remote().result(timeout_s=_START_S)
            bench = ProfileSession(handle, f"http://127.0.0.1:{port}/", node, ahead)
            bench.wait_routed()
            if ahead is not None:
                ahead.wait()
            yield bench
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        shutil.rmtree(folder, ignore_errors=True)


def _started(spec: ServeSpec, placement: Placement) -> "DeploymentHandle[Any]":
    """Start the replica and wait for it. `serve.run` would wait without end where no node comes up."""
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    target = serve.RunTarget(target=_app(spec, placement), name=_APP, route_prefix="/")
    handle = serve.run_many([target], wait_for_applications_running=False)[0]
    details = ""

    def is_running() -> bool:
        nonlocal details
        app = serve.status().applications[_APP]
        details = "; ".join(d.message for d in app.deployments.values() if d.message) or app.message
        if app.status == ApplicationStatus.DEPLOY_FAILED:
            raise LftError(f"the replica for the profiles cannot start: {details}")
        return app.status == ApplicationStatus.RUNNING

    if not wait_until(is_running, timeout_s=placement.wait_s):
        raise UnreachableError(
            f"the replica for the profiles was not ready within {placement.wait_s:.0f} s: {details}",
            fix=placement.hint,
        )
    return handle


def _variables(folder: Path, room: Fleet) -> dict[str, str]:
    found = serving_environment(folder) if room.size == 1 else cluster_environment(str(folder))
    # Nothing is lost when this replica goes, so it need not stay reachable for a while.
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
            "the cluster runs Ray Serve already, and profiles need it for themselves",
            fix="search on another cluster (leave cluster.address empty), or `serve shutdown` there first",
        )
