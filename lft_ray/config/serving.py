"""Settings of an endpoint: the section ``serve`` of an experiment.

In: plain values. Out: frozen specs. Never starts anything.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import Share, Spec
from lft_ray.config.load import overridden, validated

__all__ = ["AutoscalingSpec", "RolloutSpec", "ServeSpec", "serve_spec"]


class AutoscalingSpec(Spec):
    """Autoscaling of replicas by Ray Serve."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Minimum number of replicas. 0: scale to zero without traffic; the first request after a pause then waits 8 to 20
    s for a process to start."""
    max_replicas: PositiveInt = 4
    """Maximum number of replicas."""
    target_ongoing_requests: PositiveFloat = 32
    """Requests in flight per replica that autoscaling aims for."""
    look_back_s: Annotated[float, Field(ge=6.0)] = 12.0
    """Seconds over which the load is averaged. Replicas report their load every second, on an existing cluster perhaps
    every 10 s: with a window too short to hold a report, Serve once scaled to zero under full load."""
    upscale_delay_s: Annotated[float, Field(ge=0.0)] = 5.0
    """Seconds of high load before a replica is added."""
    downscale_delay_s: Annotated[float, Field(ge=0.0)] = 120.0
    """Seconds of low load before a replica is removed."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class RolloutSpec(Spec):
    """Checks that a new bundle must pass before it replaces the running one."""

    max_slowdown: Annotated[float, Field(ge=1.0)] | None = 5.0
    """Maximum ratio of the p95 latency to that of the running model, both measured on the new bundle's sample texts,
    one by one; null: no limit. A p95 below 25 ms always passes."""
    min_agreement: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Minimum share of texts that must get the running model's label. The new bundle is rejected where all of its own
    sample texts get another label, or where the distinct texts of recent requests are evidence (p < 0.05) of a lower
    share; 0: it may differ on every text."""
    canary_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Fraction of requests routed to the new bundle during the canary, by the hash of their id; 0: no canary."""
    canary_minutes: PositiveFloat = 10.0
    """Length of the canary. The new bundle is promoted after it unless it failed, was slow or drifted, and never with
    fewer than 100 responses."""
    max_error_rise: Share = 0.01
    """Maximum increase of the error rate over that of the running model, as a fraction of requests."""
    max_p95_rise: Annotated[float, Field(ge=1.0)] = 1.5
    """Maximum ratio of the p95 latency under traffic to that of the running model."""
    max_drift: PositiveFloat = 0.1
    """Maximum population stability index between the label distributions of the two models."""


class ServeSpec(Spec):
    """The endpoint."""

    host: str = "127.0.0.1"
    """Address to listen on. Any address other than loopback requires API keys."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """HTTP port; 0: any free port."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of the Open Inference Protocol over gRPC; 0: any free port, null: off."""
    api_keys_env: str = "LFT_API_KEYS"
    """Name of the environment variable that holds comma-separated bearer keys; unset: no authentication."""
    cpus_per_replica: PositiveInt = 1
    """CPU cores per replica; profiles are measured with the same number."""
    preset: Literal["throughput", "latency"] = "throughput"
    """How a replica uses its cores. throughput: each core runs its own batches, 1.2x the texts per second on 2 cores.
    latency: all cores work on one batch at a time, which gives single requests the lowest latency."""
    max_queued_texts: Annotated[int, Field(ge=128, le=1024)] = 1024
    """Maximum number of texts waiting in one replica; a request that would exceed it is refused (503, with
    Retry-After). At 200 texts per second 1,024 texts wait for 5 s: set it lower if late responses are useless. A whole
    batch must fit."""
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    """Number of replicas."""
    rollout: RolloutSpec = RolloutSpec()
    """How a new bundle replaces the running one."""
    require_signature: str | None = None
    """Path of a public key (PEM): only bundles that its holder signed (`lft export --sign`) are served; null: any
    bundle whose files match its manifest. Needs the extra ``signing``."""

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.port and self.port == self.grpc_port:
            raise ValueError(f"port and grpc_port are both {self.port}: HTTP and gRPC need a port each")
        return self


class _ServeAlone(Spec):
    """What may be set for a bundle that has no experiment."""

    serve: ServeSpec


def serve_spec(overrides: Sequence[str]) -> ServeSpec:
    """Return the default settings of an endpoint with overrides such as ``serve.port=0`` applied.

    Raises:
        ConfigError: naming every wrong key; only those of ``serve`` exist without an experiment.
    """
    tree = overridden({"serve": ServeSpec().model_dump(mode="json")}, overrides, _ServeAlone)
    return validated(_ServeAlone, tree, source="--set").serve
