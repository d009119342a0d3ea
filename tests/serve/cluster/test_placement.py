"""What `place` decides about nodes that are up; `tests/cluster/test_nodes.py` adds the autoscaler."""

import pytest

from lft_ray.cluster.nodes import SCALE_UP_S, Fleet, Node
from lft_ray.config import ServeSpec
from lft_ray.errors import InputError
from lft_ray.serve.cluster.deployment import SERVE_RESOURCE
from lft_ray.serve.cluster.placement import place

SPEC = ServeSpec(cpus_per_replica=2)


def serving(name: str, cpus: float) -> Node:
    return Node(name, cpus, 0.0, frozenset({SERVE_RESOURCE}))


def test_replicas_are_not_split_over_nodes():
    nodes = (Node("a", 3.0, 0.0), Node("b", 3.0, 0.0))
    assert place(SPEC, Fleet(nodes), replicas=2, wait_s=5).wait_s == 5
    with pytest.raises(InputError, match="3 replicas of 2 cores"):
        place(SPEC, Fleet(nodes), replicas=3, wait_s=5)


def test_dedicated_nodes_are_the_only_eligible_ones():
    nodes = (Node("a", 64.0, 0.0), serving("s", 2.0))
    assert place(SPEC, Fleet(nodes), replicas=1, wait_s=5).use_resource
    with pytest.raises(InputError, match=r"nodes with lft_serve: s: 2 CPU"):
        place(SPEC, Fleet(nodes), replicas=2, wait_s=5)


def test_a_cluster_that_may_grow_gets_more_time_and_a_hint():
    nodes = (Node("a", 2.0, 0.0), Node("type", 2.0, 0.0, is_up=False))
    grown = place(SPEC, Fleet(nodes, may_start=1), replicas=1, wait_s=5)
    assert grown.wait_s == SCALE_UP_S
    assert "ray status" in grown.hint
    fixed = place(SPEC, Fleet(nodes, may_start=0), replicas=1, wait_s=5)
    assert (fixed.wait_s, fixed.hint) == (5, "")
