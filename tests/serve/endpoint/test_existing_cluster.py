"""What is refused before an endpoint is deployed to an existing cluster; cluster tests deploy to a real one."""

import pytest

from lft_ray.cluster.nodes import HEAD_MARK, Fleet, Node
from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.errors import InputError
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.placement import Placement
from lft_ray.serve.endpoint.existing_cluster import _Cluster, deploy_to

ONE_NODE = Fleet((Node("a", 2.0, 0.0),))
TWO_NODES = Fleet((Node("a", 2.0, 0.0), Node("b", 2.0, 0.0)))


def cluster_of(spec: ServeSpec, fleet: Fleet = ONE_NODE, nodes=()) -> _Cluster:
    return _Cluster(list(nodes), fleet, spec, Placement(False, 1.0, ""))


@pytest.mark.parametrize(
    ("spec", "fleet", "reason"),
    [
        (ServeSpec(port=0), ONE_NODE, r"serve\.port 0"),
        (ServeSpec(grpc_port=0), ONE_NODE, r"serve\.grpc_port 0"),
        (ServeSpec(autoscaling=AutoscalingSpec(look_back_s=6)), ONE_NODE, "look_back_s 6 is too short"),
        (ServeSpec(host="127.0.0.1"), TWO_NODES, "cannot be reached from node to node, and the cluster has 2 nodes"),
    ],
)
def test_check_refuses_what_cannot_work_on_a_cluster(spec, fleet, reason):
    with pytest.raises(InputError, match=reason):
        cluster_of(spec, fleet).check("s3://bucket/bundle")


def test_check_accepts_remote_storage_and_a_reachable_address():
    cluster_of(ServeSpec(host="0.0.0.0"), TWO_NODES).check("s3://bucket/bundle")
    cluster_of(ServeSpec(host="127.0.0.1"), ONE_NODE).check("s3://bucket/bundle")


def test_head_is_the_address_of_the_head_node_unless_the_host_is_one():
    nodes = [
        {"NodeManagerAddress": "10.0.0.2", "Resources": {}},
        {"NodeManagerAddress": "10.0.0.1", "Resources": {HEAD_MARK: 1.0}},
    ]
    assert cluster_of(ServeSpec(host="0.0.0.0"), nodes=nodes).head() == "10.0.0.1"
    assert cluster_of(ServeSpec(host="0.0.0.0"), nodes=nodes[:1]).head() == "10.0.0.2"
    assert cluster_of(ServeSpec(host="10.0.0.9"), nodes=nodes).head() == "10.0.0.9"


def test_a_canary_is_refused_before_the_cluster_is_contacted(tmp_path):
    spec = ServeSpec(rollout=RolloutSpec(canary_share=0.1))
    with pytest.raises(InputError, match="a canary is evaluated by the supervisor process"):
        deploy_to("nowhere:1", Storage(tmp_path), "bundle", spec, wait_s=1.0)
