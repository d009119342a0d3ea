import pytest

from lft_ray.config import ServeSpec
from lft_ray.config.serving import AutoscalingSpec, RolloutSpec
from lft_ray.errors import InputError
from lft_ray.serve.endpoint.changes import check_given, requested_autoscaling

RUNNING = ServeSpec(port=18080, grpc_port=18081)


def test_overrides_that_a_deployment_reads_are_returned_by_key():
    assert check_given(["serve.port=0", "serve.autoscaling={max_replicas: 2}"]) == ["serve.port", "serve.autoscaling"]
    assert check_given(["selection.margin=0.01", "cost.utilisation=0.5"], with_cascade=True)
    assert check_given([]) == []


@pytest.mark.parametrize("given", ["search.trials=3", "servers.port=1", "selection.margin=0.1", "name=x"])
def test_overrides_that_a_deployment_does_not_read_are_refused_by_key(given):
    with pytest.raises(InputError, match=given.partition("=")[0]) as raised:
        check_given(["serve.port=0", given])
    assert raised.value.exit_code == 2


def test_the_address_of_a_cluster_is_an_option_of_its_own():
    with pytest.raises(InputError) as raised:
        check_given(["cluster.address=auto"])
    assert "--address" in raised.value.fix


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (ServeSpec(port=1), ()),
        (ServeSpec(port=0, grpc_port=0), ("serve.port", "serve.grpc_port")),
        (ServeSpec(port=18080), ("serve.port",)),
        (ServeSpec(rollout=RolloutSpec(max_drift=1.0)), ("serve.rollout", "serve.rollout.max_drift")),
    ],
)
def test_what_is_not_given_or_is_so_already_is_no_change(wanted, given):
    assert requested_autoscaling(RUNNING, wanted, given) is None


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        (ServeSpec(port=1), "serve.port"),
        (ServeSpec(host="0.0.0.0"), "serve.host"),
        (ServeSpec(grpc_port=None), "serve.grpc_port"),
        (ServeSpec(cpus_per_replica=2), "serve.cpus_per_replica"),
        (ServeSpec(preset="latency"), "serve.preset"),
        (ServeSpec(max_queued_texts=128), "serve.max_queued_texts"),
        (ServeSpec(api_keys_env="OTHER"), "serve.api_keys_env"),
    ],
)
def test_what_cannot_change_is_refused_by_key(wanted, key):
    for given in (key, "serve"):
        with pytest.raises(InputError, match=key.replace(".", r"\.")):
            requested_autoscaling(RUNNING, wanted, [given])


def test_every_setting_is_applied_or_refused():
    changed = ServeSpec(
        host="0.0.0.0",
        port=1,
        grpc_port=2,
        api_keys_env="X",
        cpus_per_replica=3,
        preset="latency",
        max_queued_texts=200,
        autoscaling=AutoscalingSpec(min_replicas=2),
        rollout=RolloutSpec(max_drift=1.0),
        require_signature="key.pub",
    )
    before = RUNNING.model_dump()
    assert all(before[name] != value for name, value in changed.model_dump().items()), "a new setting is missing here"


def test_only_the_given_keys_of_the_autoscaling_change():
    running = ServeSpec(autoscaling=AutoscalingSpec(max_replicas=2, downscale_delay_s=7))
    wanted = ServeSpec(autoscaling=AutoscalingSpec(min_replicas=2))
    found = requested_autoscaling(running, wanted, ["serve.autoscaling.min_replicas"])
    assert found == AutoscalingSpec(min_replicas=2, max_replicas=2, downscale_delay_s=7)
    whole = requested_autoscaling(running, wanted, ["serve.autoscaling"])
    assert whole == wanted.autoscaling
    with pytest.raises(InputError, match="min_replicas 3 is above max_replicas 2"):
        requested_autoscaling(
            running, ServeSpec(autoscaling=AutoscalingSpec(min_replicas=3)), ["serve.autoscaling.min_replicas"]
        )
