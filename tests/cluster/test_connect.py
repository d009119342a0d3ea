import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lft_ray.cluster.connect import TEMP_PREFIX, ClusterHandle, Node, connect
from lft_ray.config import ClusterSpec, ResourcesSpec, TrainingSpec
from lft_ray.errors import InputError, UnreachableError


def cluster(*nodes: tuple[float, float]) -> ClusterHandle:
    return ClusterHandle("x:1", tuple(Node(f"n{i}", c, g) for i, (c, g) in enumerate(nodes)), owned=False)


def training(workers: int = 1, **resources) -> TrainingSpec:
    return TrainingSpec(workers=workers, resources=ResourcesSpec(**resources))


@pytest.mark.parametrize(
    ("nodes", "asked", "slots"),
    [
        ([(2, 0)], training(), 2),
        ([(2, 0)], training(cpu=2), 1),
        ([(2, 0)], training(cpu=0.5), 4),
        ([(3, 0), (3, 0)], training(cpu=2), 2),  # a worker is not spread over nodes
        ([(8, 0)], training(workers=2), 4),
        ([(4, 1)], training(cpu=1), 1),  # auto: the cluster has a GPU, so each worker takes one
        ([(8, 2)], training(cpu=1, gpu=0.25), 8),
        ([(8, 2)], training(cpu=1, gpu=0), 8),
        ([(4, 0), (4, 1)], training(), 1),
    ],
)
def test_slots_are_what_the_resources_hold(nodes, asked, slots):
    handle = cluster(*nodes)
    assert handle.slots(asked) == slots
    handle.preflight(asked, "s3://bucket/runs")


@pytest.mark.parametrize("asked", [training(cpu=3), training(gpu=1), training(workers=3), training(workers=2, cpu=2)])
def test_what_never_fits_is_refused_at_once(asked):
    with pytest.raises(InputError, match=r"a trial requires .*, but the cluster has n0: 2 CPU, 0 GPU"):
        cluster((2, 0)).preflight(asked, "runs")


def test_a_local_path_is_refused_on_several_nodes():
    handle = cluster((2, 0), (2, 0))
    with pytest.raises(InputError, match="local path, but the cluster has 2 nodes"):
        handle.preflight(training(), "/data/runs")
    handle.preflight(training(), "file:///shared/runs")
    cluster((2, 0)).preflight(training(), "/data/runs")


def unreachable(address: str, match: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=match) as caught:
        connect(ClusterSpec(address=address))
    assert caught.value.exit_code == 4
    # At once where a port is closed, 5 s where it is silent; the promise is 10 s, the rest is for a busy machine.
    assert time.monotonic() - began < 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_closed_port_is_unreachable():
    unreachable(f"127.0.0.1:{free_port()}", "no Ray cluster is reachable at")


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad request\r\n\r\n", b""])
def test_something_else_than_ray_is_unreachable(answer):
    """``ray.init`` takes two minutes to find this out."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        unreachable(f"127.0.0.1:{server.getsockname()[1]}", "is not a Ray cluster|no Ray cluster")
        thread.join()


def test_a_port_that_never_speaks_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        unreachable(f"127.0.0.1:{server.getsockname()[1]}", "no Ray cluster is reachable")


@pytest.mark.parametrize("address", ["here", "host:", ":1", "host:99999", "ray://host:10001"])
def test_an_address_that_is_none_is_bad_input(address):
    with pytest.raises(InputError, match=r"cluster\.address"):
        connect(ClusterSpec(address=address))


def test_auto_without_a_cluster_is_unreachable(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    unreachable("auto", "no Ray cluster was started")


LOCAL = """
import json, os, ray
from lft_ray.cluster.connect import connect
from lft_ray.config import ClusterSpec

@ray.remote
def look():
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "TOKENIZERS_PARALLELISM", "RAY_AUTH_MODE", "RAY_CHDIR_TO_TRIAL_DIR")
    return {name: os.environ.get(name) for name in names}

before = dict(os.environ)
with connect(ClusterSpec(), object_store_mb=100) as cluster:
    seen = ray.get(look.remote())
    with connect(ClusterSpec()) as again:
        assert not again.owned and again.cpus == cluster.cpus
    assert ray.is_initialized()
    try:
        connect(ClusterSpec(address=cluster.address))
    except Exception as error:
        refused = str(error)
    report = {"cpus": cluster.cpus, "folder": str(cluster.temp_dir), "env": seen, "refused": refused}
assert not ray.is_initialized()
report["left"] = [n for n in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if os.environ.get(n) != before.get(n)]
print(json.dumps(report))
"""


@pytest.mark.cluster
def test_a_local_cluster_is_quiet_private_and_gone_afterwards():
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL], capture_output=True, text=True, timeout=100, env=environment, check=True
    )
    report = json.loads(done.stdout)
    assert report["env"] == {
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_AUTH_MODE": "token",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    assert report["cpus"] >= 1
    assert "connected to" in report["refused"]
    assert report["left"] == []
    assert Path(report["folder"]).name.startswith(TEMP_PREFIX)
    assert not Path(report["folder"]).exists()
    assert done.stderr == ""


EXISTING = """
import json, os, sys, ray
from lft_ray.cluster.connect import connect
from lft_ray.config import ClusterSpec

@ray.remote
def look():
    return os.environ.get("OMP_WAIT_POLICY")

with connect(ClusterSpec(address=sys.argv[1])) as cluster:
    print(json.dumps([cluster.owned, cluster.cpus, ray.get(look.remote())]))
"""


@pytest.mark.cluster
def test_an_existing_cluster_is_used_and_left_running():
    code = """
import os, sys
from lft_ray.cluster.connect import connect
from lft_ray.config import ClusterSpec
with connect(ClusterSpec(), object_store_mb=100) as cluster:
    print(cluster.address, os.environ["RAY_AUTH_TOKEN_PATH"], flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as head:
        address, token = head.stdout.readline().split()
        env = os.environ | {"RAY_AUTH_TOKEN_PATH": token}
        guest = [sys.executable, "-c", EXISTING, address]
        done = subprocess.run(guest, capture_output=True, text=True, timeout=100, check=False, env=env)
        assert done.returncode == 0, done.stderr
        owned, cpus, policy = json.loads(done.stdout)
        assert (owned, cpus >= 1, policy) == (False, True, "passive")
        # It still runs. Its workers find lft_ray here because they share a disk; another version is refused.
        foreign = "import lft_ray\nlft_ray.__version__ = '99.0'\n" + EXISTING
        done = subprocess.run(
            [sys.executable, "-c", foreign, address],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=env,
        )
        assert done.returncode == 1
        assert "this driver has 99.0" in done.stderr
        assert "pip install lft-ray==99.0" in done.stderr
        head.stdin.write("\n")
        head.stdin.flush()
        assert head.wait(timeout=30) == 0


@pytest.mark.parametrize("address", ["host", "host:", ":6379", "host:0", "host:65536", "host:\u00b2", "host:-1"])
def test_an_address_that_is_not_host_and_port_is_refused(address):
    from lft_ray.cluster.connect import resolve_address

    with pytest.raises(InputError, match="not host:port"):
        resolve_address(address)
