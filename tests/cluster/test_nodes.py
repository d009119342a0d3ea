"""What a cluster may grow to: counted from its autoscaler's file and the nodes that are up, with values alone."""

import pytest
import yaml

from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cluster.nodes import SCALE_UP_S, Autoscaler, Fleet
from lft_ray.config import AutoscalingSpec, ResourcesSpec, ServeSpec, TrainingSpec
from lft_ray.errors import InputError
from lft_ray.serve.cluster.placement import place
from tests.conftest import REPO

CLUSTER = yaml.safe_load((REPO / "cluster.yaml").read_text(encoding="utf-8"))
HEAD = {"NodeManagerHostname": "h", "Resources": {"node:__internal_head__": 1.0, "memory": 9.0}, "Labels": {}}


def up(name: str, group: str = "", **resources: float):
    labels = {"ray.io/node-group": group} if group else {}
    return {"NodeManagerHostname": name, "Resources": {"memory": 9.0, **resources}, "Labels": labels}


def handle(fleet: Fleet) -> ClusterHandle:
    return ClusterHandle("x:1", fleet.nodes, owned=False, may_start=fleet.may_start)


def fleet(*living, **changes) -> Fleet:
    return Fleet.of([HEAD, *living], Autoscaler.of(CLUSTER | changes))


def trial(**resources) -> TrainingSpec:
    return TrainingSpec(resources=ResourcesSpec(**resources))


def test_after_ray_up_the_nodes_that_may_come_count():
    cluster = handle(fleet())
    assert cluster.gpus_per_worker(ResourcesSpec()) == 1
    assert cluster.slots(trial()) == 8
    assert cluster.slots(trial(cpu=8)) == 8
    assert cluster.slots(trial(cpu=4, gpu=0)) == 8 * 2 + 4
    cluster.preflight(trial(), "s3://bucket/runs")


@pytest.mark.parametrize("asked", [trial(cpu=9), trial(gpu=2), TrainingSpec(workers=9)])
def test_what_no_node_type_holds_is_refused_with_the_types(asked):
    with pytest.raises(InputError, match=r"h: 0 CPU, 0 GPU; may be started: up to 8 x trial: 8 CPU, 1 GPU, up to 4 x"):
        handle(fleet()).preflight(asked, "s3://bucket/runs")


def test_a_local_path_is_refused_where_several_nodes_may_come():
    with pytest.raises(InputError, match="local path, but the cluster may have 13 nodes"):
        handle(fleet()).preflight(trial(), "/data/runs")


def test_the_user_hears_what_is_waited_for(caplog):
    handle(fleet()).preflight(trial(), "s3://bucket/runs")
    assert "no running node can hold a trial (1 x (1 CPU, 1 GPU))" in caplog.text
    caplog.clear()
    handle(fleet(up("t1", CPU=8.0, GPU=1.0))).preflight(trial(), "s3://bucket/runs")
    assert not caplog.text


@pytest.mark.parametrize("group", ["trial", ""])
def test_a_node_that_is_up_takes_a_place_of_its_type(group):
    found = fleet(up("t1", group, CPU=8.0, GPU=1.0))
    assert [node.host for node in found.nodes].count("trial") == 7
    assert (found.may_start, found.size) == (11, 13)
    assert handle(found).slots(trial()) == 8


def test_a_machine_that_joined_by_hand_comes_on_top():
    assert handle(fleet(up("mine", CPU=64.0, GPU=4.0))).slots(trial()) == 8 + 4


@pytest.mark.parametrize(("most", "slots"), [(12, 8), (3, 3), (0, 0)])
def test_the_cap_over_all_types_holds(most, slots):
    assert handle(fleet(max_workers=most)).slots(trial(gpu=1)) == slots


def test_the_cap_counts_nodes_that_are_up():
    found = fleet(up("s1", "serve", CPU=4.0, lft_serve=4.0), max_workers=3)
    assert found.may_start == 2
    assert handle(found).slots(trial()) == 2


def test_without_an_autoscaler_nothing_may_come():
    found = Fleet.of([HEAD, up("a", CPU=2.0)], None)
    assert ([node.host for node in found.nodes], found.may_start, found.size) == (["h", "a"], 0, 2)
    assert handle(found).slots(trial()) == 2


def test_defaults_are_those_of_ray_and_unknown_resources_are_not_counted():
    config = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 4}},
            "free": {"resources": {"CPU": 2}},
            "dark": {"resources": {}},
        },
    }
    assert [(kind.name, kind.max_workers) for kind in Autoscaler.of(config).types] == [("free", 3)]


def test_replicas_wait_for_a_serving_node_and_no_other(caplog):
    placed = place(ServeSpec(cpus_per_replica=4), fleet(up("t1", CPU=8.0, GPU=1.0)), replicas=1, wait_s=120)
    assert (placed.use_resource, placed.wait_s) == (True, SCALE_UP_S)
    assert "waiting for the autoscaler to start a node (serve), 20 minutes at most" in caplog.text
    with pytest.raises(InputError, match=r"nodes with lft_serve: ; may be started: up to 4 x serve: 4 CPU"):
        place(ServeSpec(cpus_per_replica=5), fleet(up("t1", CPU=8.0, GPU=1.0)), replicas=1, wait_s=120)


def test_more_replicas_than_can_come_are_refused():
    spec = ServeSpec(cpus_per_replica=4, autoscaling=AutoscalingSpec(min_replicas=5, max_replicas=5))
    place(spec, fleet(), replicas=4, wait_s=1)
    with pytest.raises(InputError, match="5 replicas of 4 cores"):
        place(spec, fleet(), replicas=5, wait_s=1)


def test_a_cluster_that_cannot_grow_is_waited_for_as_ever(caplog):
    placed = place(ServeSpec(), Fleet.of([up("a", CPU=2.0)], None), replicas=2, wait_s=120)
    assert (placed.use_resource, placed.wait_s, placed.hint) == (False, 120, "")
    assert not caplog.text
    with pytest.raises(InputError, match=r"1 replica of 3 cores .* do not fit: the cluster: a: 2 CPU, 0 GPU"):
        place(ServeSpec(cpus_per_replica=3), Fleet.of([up("a", CPU=2.0)], None), replicas=1, wait_s=120)
