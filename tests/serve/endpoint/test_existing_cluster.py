"""What is refused before an endpoint is deployed to an existing cluster; cluster tests deploy to a real one."""

import pytest

from lft_ray.cluster.nodes import HEAD_MARK, Fleet, Node
from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.errors import InputError
from lft_ray.records import Endpoint
from lft_ray.serve.cluster.placement import Placement
from lft_ray.serve.endpoint.deploy import deploy
from lft_ray.serve.endpoint.existing_cluster import _Cluster, _history, check_cluster_spec

ONE_NODE = Fleet((Node("a", 2.0, 0.0),))
TWO_NODES = Fleet((Node("a", 2.0, 0.0), Node("b", 2.0, 0.0)))


def cluster_of(spec: ServeSpec, fleet: Fleet = ONE_NODE, nodes=()) -> _Cluster:
    return _Cluster(list(nodes), fleet, spec, Placement(False, 1.0, ""))


@pytest.mark.parametrize(
    ("spec", "fleet", "reason"),
    [
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


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (ServeSpec(port=0), r"serve\.port 0"),
        (ServeSpec(grpc_port=0), r"serve\.grpc_port 0"),
        (ServeSpec(autoscaling=AutoscalingSpec(look_back_s=6)), "look_back_s 6 is too short"),
        (ServeSpec(rollout=RolloutSpec(canary_share=0.1)), "a canary is evaluated by the supervisor process"),
    ],
)
def test_settings_are_refused_before_the_cluster_is_contacted(tmp_path, spec, reason):
    for call in (lambda: check_cluster_spec(spec), lambda: deploy(tmp_path, "bundle", spec, address="nowhere:1")):
        with pytest.raises(InputError, match=reason):
            call()


def test_the_history_of_a_record_of_an_older_version_is_its_previous_bundle():
    old = Endpoint(
        url="http://h:1", version="2", process=None, ports={}, state="ready", bundle_uri="b", previous_uri="a"
    )
    assert [one.uri for one in _history(old)] == ["a"]
    assert _history(old.replace(previous_uri="")) == []
