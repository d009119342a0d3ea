"""Deploy to an existing Ray cluster: ``lft deploy --address``. The cluster keeps the endpoint alive.

In: an address, a bundle, a `ServeSpec`. Out: an `Endpoint` with ``address``. Never starts a process on this machine.
Refuses a cluster that does not meet the requirements, with the fix.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lft_ray.cluster.nodes import HEAD_MARK, Fleet, fleet, run_on
from lft_ray.config import ClusterSpec, ServeSpec
from lft_ray.errors import InputError, UnreachableError
from lft_ray.export.cascade import CASCADE_FILE, is_cascade
from lft_ray.records import Endpoint, ServedVersion
from lft_ray.run.storage import Storage
from lft_ray.serve import addresses
from lft_ray.serve.addresses import is_loopback
from lft_ray.serve.cluster import replicas
from lft_ray.serve.cluster.deployment import APP_NAME
from lft_ray.serve.cluster.environment import CLUSTER_FOLDER, cluster_environment, cluster_folder
from lft_ray.serve.cluster.placement import Placement, place
from lft_ray.serve.cluster.start import serve_starting
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.checks import check_address, check_bundle
from lft_ray.serve.endpoint.keys import hashed_keys
from lft_ray.serve.endpoint.look import spec_of
from lft_ray.serve.endpoint.outcome import served_changes
from lft_ray.serve.endpoint.promote import Wanted, check_keys, plan_change
from lft_ray.serve.rollout.controller import RolloutController, RolloutResult
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of
from lft_ray.serve.waiting import wait_healthy

__all__ = ["check_cluster_spec", "delete_from", "deploy_to", "roll_back"]

METRICS_INTERVAL_S = 10.0
"""Interval at which Serve's replicas report their load by default."""


def check_cluster_spec(spec: ServeSpec) -> None:
    """Refuse settings that no existing cluster can have, before it is contacted. Raises `InputError`."""
    if spec.rollout.canary_share:
        raise InputError(
            "a canary is evaluated by the supervisor process, which an endpoint on an existing cluster does not have",
            fix="leave out --canary: the bundle is still compared with the running one before it serves requests",
        )
    for name, port in (("port", spec.port), ("grpc_port", spec.grpc_port)):
        if port == 0:
            raise InputError(
                f"serve.{name} 0 (a free port) is possible only for an endpoint on this machine",
                fix=f"--set serve.{name}={8000 if name == 'port' else 8001}",
            )
    if spec.autoscaling.look_back_s <= METRICS_INTERVAL_S:
        raise InputError(
            f"serve.autoscaling.look_back_s {spec.autoscaling.look_back_s:g} is too short for an existing cluster, "
            f"whose replicas may report load only every {METRICS_INTERVAL_S:g} s: it would scale down under load",
            fix="--set serve.autoscaling.look_back_s=12",
        )


def deploy_to(
    address: str, storage: Storage, bundle_uri: str, spec: ServeSpec, *, given: Sequence[str] = (), wait_s: float
) -> Endpoint:
    """Serve a bundle on an existing cluster; if the cluster serves this run already, promote the bundle there.

    Args:
        address: address of the cluster, ``auto`` or ``host:port``.
        storage: the run folder.
        bundle_uri: URI of the bundle.
        spec: host, port, replicas, and the rules for a promotion.
        given: keys of ``spec`` that the user has set explicitly.
        wait_s: seconds until the endpoint must be ready, or the promotion must be decided.

    Raises:
        InputError: the cluster cannot run the endpoint: other versions, too few cores, other Serve applications, or a
            bundle that not every node can read.
        UnreachableError: the cluster or, later, the endpoint does not respond.
    """
    from lft_ray.cluster.connect import connect

    check_cluster_spec(spec)
    version = check_bundle(bundle_uri, spec)
    live = endpoints.read(storage)
    started_at = time.monotonic()
    with connect(ClusterSpec(address=address)) as connected:
        old = _live_on_cluster(live)
        if old is not None:
            return _promote(old, storage, bundle_uri, Wanted(spec, tuple(given)), wait_s=wait_s)
        cluster = _Cluster.of(spec, wait_s)
        cluster.check(bundle_uri)
        check_address(spec.model_copy(update={"port": 0, "grpc_port": None}))
        served = _copy_bundle(storage, bundle_uri, version)
        folder = cluster_folder()
        version, serial = cluster.begin(served, folder)
        url = addresses.url(cluster.head(), spec.port)
    _wait_reachable(url, timeout_s=wait_s)
    endpoint = Endpoint(
        url=url,
        version=version,
        process=None,
        ports={"http": spec.port} | ({"grpc": spec.grpc_port} if spec.grpc_port else {}),
        state="ready",
        bundle_uri=served,
        ready_after_s=round(time.monotonic() - started_at, 2),
        # Never `auto`, which means another cluster on another machine.
        address=connected.address or address,
        folder=folder,
        spec=spec,
        serial=serial,
        key_hashes=list(cluster.key_hashes),
    )
    return endpoints.write(storage, endpoint)


def _promote(old: Endpoint, storage: Storage, bundle_uri: str, wanted: Wanted, *, wait_s: float) -> Endpoint:
    """Promote a bundle where the cluster serves this run already, and apply the settings that the user gave."""
    request, note = plan_change(old, bundle_uri, wanted)
    check_keys(wanted.spec, old.key_hashes)
    spec = spec_of(old) or wanted.spec
    if request.autoscaling is not None:
        spec = spec.replace(autoscaling=request.autoscaling)
    elif request.keep_bundle:
        return old.replace(state="ready", message=note)
    cluster = _Cluster.of(spec, wait_s, tuple(old.key_hashes) or hashed_keys(spec))
    cluster.check(bundle_uri)
    controller = cluster.controller(old)
    if request.autoscaling is not None:
        result = controller.reapply()
        if result.kind == "rejected":
            return _record(result, old, storage, controller, wait_s=wait_s)
        old = endpoints.write(storage, old.replace(spec=spec, serial=controller.desired.serial))
        if request.keep_bundle:
            return old.replace(message=note)
    served = _copy_bundle(storage, bundle_uri, check_bundle(bundle_uri))
    result = controller.promote(served, wanted.spec.rollout)
    return _record(result, old, storage, controller, wait_s=wait_s)


def roll_back(live: Endpoint, storage: Storage, *, wait_s: float) -> Endpoint:
    """Return to the previous bundle.

    Args:
        live: the endpoint as recorded.
        storage: the run folder.
        wait_s: seconds until every replica must serve the bundle.

    Raises:
        InputError: there is no previous bundle, or the cluster serves something else.
        UnreachableError: the cluster or a replica does not respond.
    """
    from lft_ray.cluster.connect import connect

    if not _history(live):
        raise InputError("there is no earlier bundle to go back to", fix="`lft deploy RUN --trial ID` serves another")
    with connect(ClusterSpec(address=live.address)):
        spec = live.spec or ServeSpec()
        cluster = _Cluster.of(spec, wait_s, tuple(live.key_hashes) or hashed_keys(spec))
        if _live_on_cluster(live) is None:
            raise InputError(f"the cluster at {live.address} serves nothing", fix="`lft deploy` starts the endpoint")
        controller = cluster.controller(live)
        return _record(controller.rollback(), live, storage, controller, wait_s=wait_s)


def _copy_bundle(storage: Storage, bundle_uri: str, version: str) -> str:
    """Copy the bundle under its version: a replica that starts next month must find the bundle that is served today."""
    name = f"served/{version}"
    if storage.exists(name):
        return storage.uri_of(name)
    with Storage(bundle_uri).local_copy() as folder:
        return storage.put_folder(name, folder)


def _record(
    result: RolloutResult, old: Endpoint, storage: Storage, controller: RolloutController, *, wait_s: float
) -> Endpoint:
    """Record the result of a promotion or rollback, and delete copies of bundles that are no longer needed."""
    old = endpoints.write(storage, old.replace(serial=controller.desired.serial))
    if result.kind == "rejected":
        return old.replace(state="rejected", message=result.reason)
    changes = served_changes(result, old, controller.desired.current, list(controller.history))
    found = endpoints.write(storage, old.replace(**changes))
    needed = {controller.desired.current, *(served.uri for served in controller.history)}
    for name in storage.folders("served"):
        if storage.uri_of(f"served/{name}") not in needed:
            storage.delete_folder(f"served/{name}")
    _wait_reachable(old.url, timeout_s=wait_s)
    return found


def _history(live: Endpoint) -> list[ServedVersion]:
    if live.history or not live.previous_uri:
        return live.history
    return [ServedVersion(version=live.previous_version, uri=live.previous_uri)]


def delete_from(live: Endpoint, storage: Storage) -> Endpoint:
    """Delete the endpoint from its cluster, and shut Serve down: `deploy_to` made sure that nothing else uses it.

    Args:
        live: the endpoint as recorded.
        storage: the run folder.

    Raises:
        UnreachableError: the cluster does not respond.
    """
    from lft_ray.cluster.connect import connect

    with connect(ClusterSpec(address=live.address)):
        from ray import serve

        serve.delete(APP_NAME)
        if not serve.status().applications:
            serve.shutdown()  # type: ignore[no-untyped-call]
            _delete_on_each(_live_nodes(), live.folder)
    storage.delete_folder("served")
    return endpoints.write(storage, live.model_copy(update={"state": "stopped"}))


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The connected cluster, and the placement of the endpoint on it."""

    nodes: list[dict[str, Any]]
    """Live nodes, as Ray describes them."""
    fleet: Fleet
    """Nodes that are up or may be started."""
    spec: ServeSpec
    placement: Placement
    key_hashes: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: ServeSpec, wait_s: float, key_hashes: tuple[str, ...] | None = None) -> "_Cluster":
        """Describe the connected cluster.

        Args:
            spec: settings of the endpoint.
            wait_s: seconds until its replicas must be ready.
            key_hashes: digests of the API keys; None: those in this process's environment.
        """
        nodes = fleet()
        replicas = max(1, spec.autoscaling.min_replicas)
        keys = hashed_keys(spec) if key_hashes is None else key_hashes
        return cls(_live_nodes(), nodes, spec, place(spec, nodes, replicas=replicas, wait_s=wait_s), keys)

    def check(self, bundle_uri: str) -> None:
        """Raise `InputError` if the endpoint could not run on the cluster."""
        spec, nodes = self.spec, self.nodes
        if self.fleet.size > 1 and is_loopback(spec.host):
            raise InputError(
                f"serve.host {spec.host} cannot be reached from node to node, and the cluster "
                f"{'may have' if self.fleet.may_start else 'has'} {self.fleet.size} nodes",
                fix=f"--set serve.host=0.0.0.0 and keys in {spec.api_keys_env}",
            )
        name = CASCADE_FILE if is_cascade(Path(bundle_uri)) else "manifest.json"
        readable = _on_each(nodes, Path.is_file, Path(bundle_uri) / name) if Storage(bundle_uri).is_local else {}
        missing = sorted(host for host, is_readable in readable.items() if not is_readable)
        if missing:
            raise InputError(
                f"the bundle at {bundle_uri} cannot be read on {', '.join(missing)}",
                fix="use storage that all nodes share (s3://, gs://, or a mount), and search or export again",
            )

    def begin(self, bundle_uri: str, folder: str) -> tuple[str, int]:
        """Start Serve and the first replicas; shut Serve down if they fail to start.

        Returns:
            Their version, and the serial of their desired state.
        """
        from ray import serve

        try:
            variables = cluster_environment(folder)
            with serve_starting(self.spec.host, self.spec.port, grpc_port=self.spec.grpc_port, variables=variables):
                controller = RolloutController(self._apply, list)
                statuses = controller.begin(bundle_uri)
            if reason := rejection(statuses):
                raise InputError(f"the replicas reject the bundle: {reason}")
        except BaseException:
            serve.shutdown()  # type: ignore[no-untyped-call]
            _delete_on_each(_live_nodes(), folder)
            raise
        return version_of(statuses), controller.desired.serial

    def controller(self, old: Endpoint) -> RolloutController:
        """Controller of the live endpoint. Its survey is empty, because there is no canary here."""
        history = _history(old)
        desired = DesiredState(
            current=old.bundle_uri,
            previous=history[-1].uri if history else None,
            version=old.version,
            # A command that was killed may not have recorded its serial: the replicas know it.
            serial=max([old.serial, *(status.serial for status in replicas.survey_app())]),
        )
        return RolloutController(self._apply, list, desired=desired, history=history)

    def head(self) -> str:
        """Address of the machine that clients connect to."""
        if self.spec.host not in ("0.0.0.0", "::"):
            return self.spec.host
        heads = [node for node in self.nodes if HEAD_MARK in node["Resources"]]
        return str((heads or self.nodes)[0]["NodeManagerAddress"])

    def _apply(self, desired: DesiredState) -> list[ReplicaStatus]:
        use_resource = self.placement.use_resource
        handle = replicas.apply(self.spec, desired, key_hashes=self.key_hashes, use_resource=use_resource)
        try:
            return replicas.settle(handle, desired, timeout_s=self.placement.wait_s)
        except UnreachableError as error:
            raise UnreachableError(error.message, fix=error.fix or self.placement.hint) from error


def _live_nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _on_each(nodes: list[dict[str, Any]], function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run a function on each node. Returns its results by host name."""
    import ray

    # The functions are idempotent, so Ray may retry them; three times is its default.
    pending = {
        str(node["NodeManagerHostname"]): run_on(node["NodeID"], function, *arguments, retries=3) for node in nodes
    }
    return {host: ray.get(reference, timeout=60) for host, reference in pending.items()}


def _delete_folder(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _delete_on_each(nodes: list[dict[str, Any]], folder: str) -> None:
    # Files of HAProxy. endpoint.json may name any folder; only one from `cluster_folder` is ours to delete.
    if folder.startswith(CLUSTER_FOLDER) and ".." not in folder:
        _on_each(nodes, _delete_folder, folder)


def _live_on_cluster(live: Endpoint | None) -> Endpoint | None:
    """The run's endpoint if the cluster serves it. Raises `InputError` if the cluster serves something else."""
    from ray import serve

    served = set(serve.status().applications)
    if not served:
        return None
    if served == {APP_NAME} and live is not None and live.address and live.state != "stopped":
        return live
    raise InputError(
        f"the cluster already serves something else: {', '.join(sorted(served))}",
        fix="`lft down` its run, or `serve shutdown` there, or deploy without --address",
    )


def _wait_reachable(url: str, *, timeout_s: float) -> None:
    if problem := wait_healthy(url, timeout_s):
        raise UnreachableError(
            f"the replicas are ready, but {url} cannot be reached from here: {problem}",
            fix="a Serve instance from before may listen on another port: run `serve shutdown` there first",
        )
