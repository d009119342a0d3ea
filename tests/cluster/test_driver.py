"""The driver of a Ray cluster: search path of the workers, signals, and the end by force."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lft_ray.cluster.driver import _DriverPath, end_cluster

STARTED = """
import os, sys, time
from lft_ray.cli.output import guarded
from lft_ray.cli.process import run

@guarded
def command():
    from lft_ray.cluster.connect import connect
    from lft_ray.config import ClusterSpec

    with connect(ClusterSpec()) as cluster:
        import ray

        @ray.remote
        def names():
            import secrets
            return secrets.__file__, os.getcwd()

        found, here = ray.get(names.remote())
        assert not found.startswith(here), found
        sys.stderr.write(f"ready {cluster.temp_dir}\\n")
        sys.stderr.flush()
        time.sleep(120)

run(lambda: command)
"""


def test_workers_do_not_search_the_working_directory_unless_the_driver_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = _DriverPath(["/own"])
    path.extend(["/script", str(tmp_path)])
    assert path == ["/own", "/script"]
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    path.extend([str(tmp_path)])
    assert path == ["/own", "/script", str(tmp_path)]


def test_only_the_processes_of_the_cluster_are_ended(tmp_path):
    folder = tmp_path / "lft-ray-x"
    folder.mkdir()
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print(1, flush=True); time.sleep(60)"
    ours, other = (
        subprocess.Popen([sys.executable, "-c", code, str(word)], stdout=subprocess.PIPE) for word in (folder, "other")
    )
    try:
        assert ours.stdout.readline() == other.stdout.readline() == b"1\n"
        (grandchild,) = psutil.Process(ours.pid).children()
        end_cluster(folder)
        assert ours.wait(20) == -signal.SIGKILL
        psutil.wait_procs([grandchild], timeout=20)
        assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
        assert other.poll() is None
        assert not folder.exists()
    finally:
        for child in psutil.Process(other.pid).children():
            child.kill()
        for process in (ours, other):
            process.kill()
            process.wait()
            process.stdout.close()


AFTER = STARTED.replace(
    """        sys.stderr.write(f"ready {cluster.temp_dir}\\n")
        sys.stderr.flush()
        time.sleep(120)""",
    """    sys.stderr.write(f"ready {cluster.temp_dir}\\n")
    sys.stderr.flush()
    time.sleep(120)""",
)
"""The same with the cluster ended: Ray's shutdown gives SIGTERM back to the kernel."""


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("script", "name", "code"),
    [(STARTED, "SIGTERM", 143), (STARTED, "SIGINT", 130), (AFTER, "SIGTERM", 143)],
    ids=["SIGTERM", "SIGINT", "SIGTERM afterwards"],
)
def test_a_signal_ends_the_command_and_its_cluster(tmp_path, script, name, code):
    # A module of this name beside the data must not replace that of Python in the workers.
    (tmp_path / "secrets.py").write_text("raise ImportError('the wrong module')")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root, "HOME": "/proc"},
        # Tests may run in the background, where a shell has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("ready "):
            break
    assert "ready " in said, said
    folder = said.rpartition("ready ")[2].strip()
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, name))
    out, rest = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert "SIGTERM received" not in rest
    assert "interrupted\n" in rest
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    time.sleep(0.1)
    assert not os.path.exists(folder)  # noqa: PTH110
