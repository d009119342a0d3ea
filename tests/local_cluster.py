"""A Ray cluster on this machine that scales from zero: ``python -m tests.local_cluster DASHBOARD_PORT FOLDER``.

A head without cores, up to two nodes for trials, up to one for serving, none of them up at first: what ``ray up`` makes
of cluster.yaml, with Ray's provider that starts every node on this machine. Prints the address, then lives until its
standard input is closed, and ends exactly what it started. Its own process, because Ray reads tokens once and keeps
them: a cluster with another token would spoil every later one of the test process.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from ray._private.services import get_node_ip_address
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

from lft_ray.cluster.connect import check_reachable
from lft_ray.errors import UnreachableError
from lft_ray.serve.cluster.environment import free_port
from lft_ray.serve.endpoint import process_tree

STORE_BYTES = 100 * 1024 * 1024
START_S = 120.0
LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
)  # fmt: skip
# A trial takes two cores, so that only nodes of its own type hold it.
TYPES: dict[str, dict[str, Any]] = {
    FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "max_workers": 0},
    "trial": {"resources": {"CPU": 2}, "max_workers": 2},
    "serve": {"resources": {"CPU": 1, "lft_serve": 1}, "max_workers": 1},
}


def config(address: str) -> dict:
    types = {
        name: {"node_config": {}, "min_workers": 0, **entry, "resources": entry["resources"] | extra}
        for name, entry in TYPES.items()
        for extra in ({"object_store_memory": STORE_BYTES},)
    }
    return {
        "cluster_name": "fake",
        "max_workers": 3,
        "idle_timeout_minutes": 5,
        "provider": {
            # Ray's own name for it, fake_multinode, looks for a file that the wheel lacks (2.60).
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
        },
        "auth": {},
        "file_mounts": {},
        "available_node_types": types,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        **{name: [] for name in LISTS},
    }


def answers(address: str) -> bool:
    with suppress(UnreachableError):
        check_reachable(address)
        return True
    return False


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def main(dashboard_port: int, folder: Path) -> None:
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    followed = folder / "autoscaler.yaml"
    followed.write_text(yaml.safe_dump(config(address)), encoding="utf-8")
    words = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0", f"--port={port}",
        f"--dashboard-port={dashboard_port}", "--dashboard-agent-listen-port=0", "--min-worker-port=0",
        "--max-worker-port=0", f"--ray-client-server-port={free_port()}",
        f"--object-store-memory={STORE_BYTES}", f"--temp-dir={folder / 'r'}", f"--autoscaling-config={followed}",
    ]  # fmt: skip
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    process_tree.adopt_orphans()
    try:
        with (folder / "head.log").open("wb") as log:
            head = subprocess.Popen(words, env=os.environ | variables, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not (answers(address) and listens(dashboard_port)):
            if head.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "head.log").read_text(encoding="utf-8"))
            time.sleep(0.2)
        print(address, flush=True)
        sys.stdin.read()
    finally:
        process_tree.end(process_tree.descendants(), timeout_s=10.0)
        # What a parent started while it was being ended.
        process_tree.end(process_tree.descendants(), timeout_s=10.0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
