"""Where replicas go on the connected cluster, and how long they may take to get there. Starts nothing.

In: a `ServeSpec` and the nodes that are up or may be. Out: a `Placement`, or the error that says why there is none.
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
    """What a replica asks for beside its cores.

    Attributes:
        use_resource: whether it asks for ``lft_serve``, and so for a node that is meant to serve.
        wait_s: how long replicas may take until they are ready.
        hint: what to look at when they are not, or an empty string.
    """

    use_resource: bool
    wait_s: float
    hint: str


def place(spec: ServeSpec, room: Fleet, *, replicas: int, wait_s: float) -> Placement:
    """Find where replicas fit, and tell the user where that takes a node that is not up yet.

    Args:
        spec: cores of a replica.
        room: nodes of the cluster.
        replicas: how many must run at the same time.
        wait_s: how long they may take where the nodes are up.

    Raises:
        InputError: they can never fit.
    """
    use_resource = room.offers(SERVE_RESOURCE)
    homes = [node for node in room.nodes if SERVE_RESOURCE in node.custom or not use_resource]
    up = sum(math.floor(node.cpus / spec.cpus_per_replica) for node in homes if node.is_up)
    new = sorted((math.floor(node.cpus / spec.cpus_per_replica) for node in homes if not node.is_up), reverse=True)
    if up + sum(new[: room.may_start]) < replicas:
        raise InputError(
            f"{replicas} replica{'s' * (replicas > 1)} of {spec.cpus_per_replica} cores (serve.cpus_per_replica) "
            f"do not fit: {f'nodes with {SERVE_RESOURCE}' if use_resource else 'the cluster'}: {describe(homes)}",
            fix="lower serve.cpus_per_replica or serve.autoscaling.min_replicas, or use a larger cluster",
        )
    may_grow = any(new) and room.may_start > 0
    if up < replicas:
        kinds = ", ".join(dict.fromkeys(node.host for node in homes if not node.is_up))
        # A warning is seen wherever this runs, also in the log of a job, without any setting.
        logger.warning("waiting for the autoscaler to start a node (%s), %.0f minutes at most", kinds, SCALE_UP_S / 60)
    return Placement(
        use_resource=use_resource,
        wait_s=max(wait_s, SCALE_UP_S) if may_grow else wait_s,
        hint="`ray status` on the head tells what the autoscaler does" if may_grow else "",
    )
