"""The knobs of an endpoint: the part ``serve`` of an experiment. Values only."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import Share, Spec

__all__ = ["AutoscalingSpec", "RolloutSpec", "ServeSpec"]


class AutoscalingSpec(Spec):
    """Ray Serve's autoscaling of replicas."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """0: none runs without traffic, and the first request after a pause waits for a process to start: 8 to 20 s."""
    max_replicas: PositiveInt = 4
    target_ongoing_requests: PositiveFloat = 32
    look_back_s: Annotated[float, Field(ge=6.0)] = 12.0
    """Load is averaged over this. Replicas push their load every second, those of an existing cluster perhaps every 10:
    with a window that holds no push Serve once scaled to zero under full load."""
    upscale_delay_s: Annotated[float, Field(ge=0.0)] = 5.0
    downscale_delay_s: Annotated[float, Field(ge=0.0)] = 120.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class RolloutSpec(Spec):
    """What a new bundle must show before it takes a running one's place."""

    max_slowdown: Annotated[float, Field(ge=1.0)] | None = 5.0
    """Largest p95 over the running model's, both asked the new bundle's sample texts one by one; null: any. A p95 below
    25 ms always passes."""
    canary_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of requests that the new bundle answers first, by the hash of their id; 0: no canary."""
    canary_minutes: PositiveFloat = 10.0
    """How long. Promoted after it, unless the new bundle failed, was slow or drifted; never under 100 answers."""
    max_error_rise: Share = 0.01
    """Share of its requests that may fail beyond the running model's."""
    max_p95_rise: Annotated[float, Field(ge=1.0)] = 1.5
    """Largest p95 under traffic over the running model's."""
    max_drift: PositiveFloat = 0.1
    """Largest population stability index between the labels that the two give."""


class ServeSpec(Spec):
    """The endpoint."""

    host: str = "127.0.0.1"
    """Another address than loopback is refused unless API keys are set."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any free port."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of the Open Inference Protocol over gRPC; 0: any free port, null: off."""
    api_keys_env: str = "LFT_API_KEYS"
    """Environment variable with comma-separated bearer keys; unset: no keys."""
    cpus_per_replica: PositiveInt = 1
    """Cores of one replica; profiles are measured with the same."""
    preset: Literal["throughput", "latency"] = "throughput"
    """What the cores of a replica do. throughput: each runs batches of its own, 1.2x the texts a second on 2 cores.
    latency: all share one batch at a time, so that a text that comes alone is answered soonest."""
    max_queued_texts: Annotated[int, Field(ge=128, le=1024)] = 1024
    """Texts that may wait in one replica; a request that would make it more is refused (503, with Retry-After). At 200
    texts a second 1,024 of them wait for 5 s: fewer, where a late answer is worth nothing. A whole batch must fit."""
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    rollout: RolloutSpec = RolloutSpec()
