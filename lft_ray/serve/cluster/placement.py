"""Placement of replicas on the connected cluster, and how long they may take to start. Starts nothing.

In: a `ServeSpec`, and the nodes that are up or may be started. Out: a `Placement`, or an error if replicas cannot fit.
"""

import logging
import math
from dataclasses import dataclass

from lft_ray.cluster.nodes import SCALE_UP_S, Fleet, describe
from lft_ray.config import ServeSpec
from lft_ray.errors import InputError
from lft_ray.serve.cluster.deployment import SERVE_RESOURCE

__all__ = ["Placement", "place"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Placement:
    """What a replica requests besides its cores, and how long it may take to start.

    Attributes:
        use_resource: whether the replica requests ``lft_serve``, and so a node that is dedicated to serving.
        wait_s: seconds until the replicas must be ready.
        hint: where to look for the cause if they are not; may be empty.
    """

    use_resource: bool
    wait_s: float
    hint: str


def place(spec: ServeSpec, cluster: Fleet, *, replicas: int, wait_s: float) -> Placement:
    """Check that the replicas fit, and log a warning if that takes a node that is not up yet.

    Args:
        spec: number of cores per replica.
        cluster: nodes of the cluster.
        replicas: number of replicas that must run at the same time.
        wait_s: seconds until they must be ready on nodes that are up.

    Raises:
        InputError: they cannot fit, even after scaling up.
    """
    use_resource = cluster.offers(SERVE_RESOURCE)
    eligible = [node for node in cluster.nodes if SERVE_RESOURCE in node.custom or not use_resource]
    up = sum(math.floor(node.cpus / spec.cpus_per_replica) for node in eligible if node.is_up)
    new = sorted((math.floor(node.cpus / spec.cpus_per_replica) for node in eligible if not node.is_up), reverse=True)
    if up + sum(new[: cluster.may_start]) < replicas:
        raise InputError(
            f"{replicas} replica{'s' * (replicas > 1)} of {spec.cpus_per_replica} cores (serve.cpus_per_replica) "
            f"do not fit: {f'nodes with {SERVE_RESOURCE}' if use_resource else 'the cluster'}: {describe(eligible)}",
            fix="lower serve.cpus_per_replica or serve.autoscaling.min_replicas, or use a larger cluster",
        )
    may_grow = any(new) and cluster.may_start > 0
    if up < replicas:
        kinds = ", ".join(dict.fromkeys(node.host for node in eligible if not node.is_up))
        # A warning is visible without any logging configuration, also in the log of a Ray job.
        logger.warning("waiting for the autoscaler to start a node (%s), %.0f minutes at most", kinds, SCALE_UP_S / 60)
    return Placement(
        use_resource=use_resource,
        wait_s=max(wait_s, SCALE_UP_S) if may_grow else wait_s,
        hint="`ray status` on the head node shows what the autoscaler is doing" if may_grow else "",
    )
