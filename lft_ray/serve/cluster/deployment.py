"""The Ray Serve deployment: one deployment, whose ingress is the model.

In: a `ServeSpec` and a `DesiredState`. Out: a Serve application. A new bundle arrives as ``user_config``, never as new
code, so a promotion does not restart replicas.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import lft_ray
from lft_ray.config import ServeSpec
from lft_ray.export.signature import read_public_key
from lft_ray.serve.addresses import is_loopback
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus

__all__ = ["APP_NAME", "DEPLOYMENT_NAME", "Replica", "ReplicaOptions", "autoscaling", "build_app"]

APP_NAME = "lft"
DEPLOYMENT_NAME = "model"
MAX_ONGOING_REQUESTS = 2000
"""More than the batcher's queue admits, so that a full queue gives our own 503, with a reason and Retry-After."""
SERVE_RESOURCE = "lft_serve"
"""Custom Ray resource that marks nodes as dedicated to serving; requested if the cluster has it."""


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """Constructor arguments of a replica."""

    layout: ReplicaThreads
    """Worker threads and queue."""
    key_hashes: tuple[str, ...] = ()
    """SHA-256 of the accepted API keys; empty: no authentication."""
    local_only: bool = False
    """Accept gRPC calls from this machine only. HTTP needs no such check: it listens on the endpoint's own address."""
    public_key: str = ""
    """PEM text of the key that every bundle must be signed with; empty: signatures are not checked."""


class Replica:
    """One replica: a `Service` behind the HTTP app and the gRPC servicer. A plain class until `build_app` wraps it."""

    def __init__(self, options: ReplicaOptions) -> None:
        from lft_ray.serve.api.app import LIMITS, metrics_of
        from lft_ray.serve.http.auth import ApiKeys
        from lft_ray.serve.model.open import open_predictor
        from lft_ray.serve.protocols.grpc import GrpcService

        self._options = options
        self._service = Service(
            lambda uri: open_predictor(
                uri, options.layout, limits=LIMITS, public_key=options.public_key, observe=self._metrics.observe_batch
            )
        )
        self._metrics = metrics_of(self._service)
        self._changes: set[asyncio.Task[ReplicaStatus]] = set()
        self._grpc = GrpcService(
            self._service, keys=ApiKeys(options.key_hashes), local_only=options.local_only, metrics=self._metrics
        )

    def __serve_build_asgi_app__(self) -> Any:
        """Return the HTTP app. Called by Serve once, after ``__init__``."""
        from ray import serve

        from lft_ray.serve.api.app import create_app
        from lft_ray.serve.cluster.metrics_store import ClusterStore
        from lft_ray.serve.http.all_replicas import ReplicaMetrics
        from lft_ray.serve.http.auth import ApiKeys

        shared = ReplicaMetrics(self._metrics, serve.get_replica_context().replica_id.unique_id, ClusterStore())
        shared.publish_forever()
        return create_app(
            self._service,
            keys=ApiKeys(self._options.key_hashes),
            sends_request_id=False,
            metrics=self._metrics,
            metrics_text=shared.text,
        )

    # Serve calls these by the names of the protocol's methods.

    async def ServerLive(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ServerLive", request, grpc_context)

    async def ServerReady(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ServerReady", request, grpc_context)

    async def ModelReady(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ModelReady", request, grpc_context)

    async def ServerMetadata(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ServerMetadata", request, grpc_context)

    async def ModelMetadata(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ModelMetadata", request, grpc_context)

    async def ModelInfer(self, request: Any, grpc_context: Any) -> Any:  # noqa: D102
        return await self._grpc.call("ModelInfer", request, grpc_context)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Apply a new desired state. Called by Serve before the replica is ready, and again for every promotion."""
        desired = DesiredState.of(config)
        if not self._service.version:
            await self._service.reconfigure(desired)
            return
        # Serve takes a replica out of rotation until this returns, so the new model is opened after that.
        task = asyncio.get_running_loop().create_task(self._service.reconfigure(desired))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def status(self) -> ReplicaStatus:
        """Status with regard to the latest desired state, for the supervisor."""
        from ray import serve

        return replace(self._service.status, replica=serve.get_replica_context().replica_id.unique_id)

    async def check_health(self) -> None:
        """Raise if the model hangs. Called by Serve, which then restarts the replica."""
        self._service.check()


def autoscaling(spec: ServeSpec) -> dict[str, Any]:
    """Serve's ``autoscaling_config``. Requires the metrics interval of `serve.cluster.environment` (1 s, not 10 s)."""
    return {
        "min_replicas": spec.autoscaling.min_replicas,
        "max_replicas": spec.autoscaling.max_replicas,
        "target_ongoing_requests": spec.autoscaling.target_ongoing_requests,
        "look_back_period_s": spec.autoscaling.look_back_s,
        "upscale_delay_s": spec.autoscaling.upscale_delay_s,
        "downscale_delay_s": spec.autoscaling.downscale_delay_s,
    }


def build_app(
    spec: ServeSpec, desired: DesiredState, *, key_hashes: tuple[str, ...] = (), use_resource: bool = False
) -> Any:
    """Build the Serve application.

    Args:
        spec: replicas, cores and autoscaling.
        desired: the bundle to serve.
        key_hashes: SHA-256 of the accepted API keys; empty: no authentication.
        use_resource: request the resource ``lft_serve``, which the cluster must have.
    """
    from ray import serve

    # A small amount: it selects the node without limiting the number of replicas there.
    resources = {SERVE_RESOURCE: 0.001} if use_resource else {}
    deployment = serve.deployment(
        name=DEPLOYMENT_NAME,
        user_config=desired.as_config(),
        autoscaling_config=autoscaling(spec),
        ray_actor_options={"num_cpus": spec.cpus_per_replica, "resources": resources},
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=MAX_ONGOING_REQUESTS,
        health_check_period_s=5,
        health_check_timeout_s=5,  # three in a row replace the replica
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=3,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )(serve.ingress()(Replica))
    # Serve generates a new code version on every run, and a new version restarts all replicas. Ours changes only with
    # our code, so that a promotion reaches the running replicas as user_config. Serve has no public option for this.
    deployment = deployment.options(_internal=True, version=f"lft-{lft_ray.__version__}")
    options = ReplicaOptions(
        layout=ReplicaThreads(spec.cpus_per_replica, spec.preset, spec.max_queued_texts),
        key_hashes=key_hashes,
        local_only=is_loopback(spec.host) and not key_hashes,
        public_key=read_public_key(spec.require_signature) if spec.require_signature else "",
    )
    return deployment.bind(options)
