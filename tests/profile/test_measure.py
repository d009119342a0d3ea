"""Profiles in a real replica, and an endpoint on an existing cluster: both on one local Ray cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lft_ray.cluster.connect import ClusterHandle, connect
from lft_ray.config import ClusterSpec, ServeSpec
from lft_ray.errors import InputError, UnreachableError
from lft_ray.profile.measure import _out_of_order, measure_profiles
from lft_ray.profile.requests import profile_requests
from lft_ray.records import Endpoint, ProfileBook, ServingProfile
from lft_ray.serve.cluster.environment import free_port, import_path
from lft_ray.serve.endpoint.deploy import deploy
from tests.handed_down import candidates

ENGINES = {"fp32": "onnxruntime", "int8": "onnxruntime", "bf16": "torch"}


def test_out_of_order_finds_more_layers_that_cost_less(experiment, dataset):
    requests = [
        r for r in profile_requests(candidates(experiment, dataset), dataset) if r.precision == "fp32" and r.size.layers
    ]
    requests.sort(key=lambda request: request.size.layers)
    assert _out_of_order(requests, [profile(1.0, 0.1), profile(0.95, 0.0)]) == []
    assert _out_of_order(requests, [profile(1.0, 0.1), profile(0.8, 0.0)]) == [0, 1]
    assert _out_of_order(requests[::-1], [profile(1.0, 0.1), profile(0.8, 0.0)]) == []


def test_deploy_to_an_unreachable_address_fails(bundles, tmp_path):
    with pytest.raises(UnreachableError) as raised:
        deploy(tmp_path, bundles["first"], ServeSpec(port=8000), address="127.0.0.1:1")
    assert raised.value.exit_code == 4


def test_deploy_refuses_a_missing_bundle_before_it_connects(tmp_path):
    with pytest.raises(InputError, match="no bundle"):
        deploy(tmp_path, str(tmp_path / "none"), ServeSpec(), address="127.0.0.1:1")
    assert not Path(tmp_path / "endpoint.json").exists()


def profile(core_s_per_text: float, spread: float) -> ServingProfile:
    return ServingProfile(
        model_size="a",
        precision="fp32",
        max_length=32,
        engine="torch",
        device="cpu",
        machine="m",
        threads=1,
        core_s_per_text=core_s_per_text,
        texts_per_s=1,
        p50_ms=1,
        p95_ms=1,
        p99_ms=1,
        load_requests_per_s=1,
        peak_bytes=1,
        repeats=3,
        spread=spread,
        texts_measured=1,
    )


# ---------------------------------------------------------------- on a cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterHandle]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = import_path()
    with connect(ClusterSpec(), object_store_mb=100) as handle:
        yield handle
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def haproxies() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.name() == "haproxy"]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_profiles_are_measured_in_a_replica_and_serve_is_gone_after_it(cluster, experiment, dataset):
    from ray.util import list_named_actors

    requests = [
        r
        for r in profile_requests(candidates(experiment, dataset), dataset)
        if r.precision != "bf16" or r.size.layers == 1
    ]
    book = measure_profiles(requests, dataset, ServeSpec(), seconds_per_repeat=0.2)
    assert ProfileBook.model_validate_json(book.model_dump_json()) == book
    assert 0 < book.ingress.core_s_per_request < 0.1
    # In the order that was asked for, whatever the order in which they were measured.
    assert [(p.model_size, p.precision) for p in book.profiles] == [(r.size.name, r.precision) for r in requests]
    engines = ENGINES | {"": "sklearn"}
    assert [p.engine for p in book.profiles] == [engines[r.precision if r.size.layers else ""] for r in requests]
    # A replica without torch is small: what builds the graphs is another process.
    assert max(p.peak_bytes for p in book.profiles if p.engine != "torch") < 300e6
    for measured in book.profiles:
        assert measured.core_s_per_text > 0
        assert 0 < measured.p50_ms <= measured.p95_ms <= measured.p99_ms
        assert measured.texts_measured > 0
        assert measured.peak_bytes > 50e6
        assert measured.machine == book.ingress.machine
    assert list_named_actors(all_namespaces=True) == []
    assert haproxies() == []


DEPLOY = """
import sys
from lft_ray.config import ServeSpec
from lft_ray.serve.endpoint.deploy import deploy, down, rollback
run, bundle, address, port = sys.argv[1:]
if bundle == "before":
    print(rollback(run, wait_s=90).model_dump_json())
elif bundle:
    print(deploy(run, bundle, ServeSpec(port=int(port)), address=address, wait_s=90).model_dump_json())
else:
    print(down(run).model_dump_json())
"""


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_an_existing_cluster_serves_promotes_rejects_and_lets_go(cluster, bundles, tmp_path):
    port = free_port()

    def call(bundle: str) -> Endpoint:
        arguments = [str(tmp_path), bundle, cluster.address, str(port)]
        done = subprocess.run([sys.executable, "-c", DEPLOY, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Endpoint.model_validate(json.loads(done.stdout.splitlines()[-1]))

    first = call(bundles["first"].uri)
    assert (first.state, first.version, first.address) == ("ready", bundles["first"].version, cluster.address)
    answer = httpx.post(first.url, json={"inputs": "the bank makes profit", "parameters": {"top_k": 1}})
    assert answer.json()[0][0]["label"] == "business"

    second = call(bundles["second"].uri)
    assert (second.state, second.version, second.url) == ("ready", bundles["second"].version, first.url)
    assert second.previous_version == first.version
    assert httpx.get(f"{first.url}/info").json()["version"] == second.version

    # The replicas read copies under their versions, so that the bundle before is there though the run has moved on.
    assert {path.name for path in (tmp_path / "served").iterdir()} == {first.version, second.version}
    back = call("before")
    # One step back in the history, which has nothing before it: a second rollback would not go forward again.
    assert (back.state, back.version, back.previous_version) == ("ready", first.version, "")
    assert httpx.get(f"{first.url}/info").json()["version"] == first.version

    assert Path(first.folder).is_dir()
    assert call("").state == "stopped"
    assert not Path(first.folder).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(first.url)
    assert haproxies() == []
