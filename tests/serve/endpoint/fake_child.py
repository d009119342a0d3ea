"""Stands for the process with Ray: ``python -m tests.serve.endpoint.fake_child FOLDER with-ray``.

Has two processes with the names of Ray's core, which it outlives as little as Ray's driver does, a HAProxy that was
started by the launcher, and a replica that is a few lines of Python.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from lft_ray.serve.cluster import front, haproxy
from lft_ray.serve.cluster.environment import free_port, haproxy_binary
from lft_ray.serve.cluster.haproxy_launcher import Launch
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint.process_tree import end_with_parent
from lft_ray.serve.endpoint.site import Site
from lft_ray.serve.http.errors import REQUEST_ID_PATTERN
from tests.serve.cluster.test_haproxy_launcher import BACKEND, SERVE, USE, Replica, Server


def core(folder: Path) -> list[subprocess.Popen]:
    started = []
    for name in ("raylet", "gcs_server"):
        program = folder / name
        if not program.exists():
            shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        started.append(subprocess.Popen([program, "600"]))
    return started


def main(folder: Path) -> None:
    end_with_parent(signal.SIGKILL)
    state = messages.get(folder, messages.ServingState)
    request = messages.get(folder, messages.StartRequest)
    assert state is not None
    assert request is not None
    node = folder / "h" / "node"
    node.mkdir(exist_ok=True)
    launch = Launch(haproxy_binary() or "", str(folder / "h"), free_port(), free_port(), REQUEST_ID_PATTERN, False)
    launcher = front.write_files(folder / "h", launch)
    replica = Server(("127.0.0.1", 0), Replica)
    threading.Thread(target=replica.serve_forever, args=(0.05,), daemon=True).start()
    text = SERVE.format(
        folder=folder / "h",
        port=state.port,
        grpc=free_port(),
        metrics=launch.metrics_port,
        stats=launch.stats_port,
        use=USE,
        backend=BACKEND.format(replica=replica.server_port),
    )
    (node / "haproxy.cfg").write_text(text)
    processes = core(folder)
    subprocess.Popen([launcher, "-db", "-dR", "-f", node / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    while not haproxy.process_id(node / "admin.sock"):
        time.sleep(0.02)
    endpoint = state.endpoint.model_copy(update={"state": "ready", "version": "1", "ready_after_s": 1.0})
    messages.put(folder, state.model_copy(update={"endpoint": endpoint}))
    Site(request.site_uri).write(endpoint)
    while all(process.poll() is None for process in processes):
        time.sleep(0.02)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
