import shutil
import subprocess
import sys
import time

import psutil

from lft_ray.processes import identity_of
from lft_ray.serve.endpoint import process_tree
from tests.conftest import SLEEP


def test_a_zombie_is_no_descendant(sleeper):
    assert sleeper.pid in {process.pid for process in process_tree.descendants()}
    assert [one.pid for one in process_tree.identities([psutil.Process(sleeper.pid)])] == [sleeper.pid]
    sleeper.kill()
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert sleeper.pid not in {process.pid for process in process_tree.descendants()}


def test_leftovers_are_ended_by_identity_and_not_by_process_id(sleeper):
    found = identity_of(sleeper.pid)
    process_tree.end_leftovers([found.model_copy(update={"start_ticks": found.start_ticks - 1})], "")
    assert sleeper.poll() is None
    process_tree.end_leftovers([found], "")
    assert identity_of(sleeper.pid) is None


def test_leftovers_are_ended_where_their_command_names_a_file_in_the_folder(sleeper, tmp_path):
    inside = subprocess.Popen([*SLEEP, str(tmp_path / "haproxy.cfg")])
    try:
        process_tree.end_leftovers([], str(tmp_path))
        assert identity_of(inside.pid) is None
        assert sleeper.poll() is None
    finally:
        inside.kill()
        inside.wait()


ORPHAN = """
import subprocess, sys, time
import psutil
from lft_ray.serve.endpoint import process_tree
raylet, other = (subprocess.Popen([program, "600"]) for program in sys.argv[1:])
[frozen] = process_tree.end_all_but_raylet(process_tree.identities(process_tree.descendants()), sys.argv[1][:-7])
print(frozen.pid == raylet.pid, frozen.status(), other.wait(20) is not None)
frozen.kill()
"""


def test_a_process_that_would_die_with_the_raylet_ends_all_others_first(tmp_path):
    raylet = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", raylet)
    command = [sys.executable, "-c", ORPHAN, str(raylet), "sleep"]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert (found.stdout.split(), found.stderr) == (["True", "stopped", "True"], "")


def test_the_agents_of_the_raylet_count_as_its_core_once_they_are_there(tmp_path):
    def started(name: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        return subprocess.Popen([program, "60"])

    processes = [started("raylet")]
    try:
        known = [psutil.Process(processes[0].pid)]
        assert process_tree.core(known) == [], "without a GCS there is no cluster yet"
        processes += [started("gcs_server"), started("ray::DashboardAgent"), started("ray::ServeReplica")]
        found = process_tree.core(psutil.Process(process.pid) for process in processes)
        assert [name for name, _ in found] == ["raylet", "gcs_server", "dashboard agent"]
        assert [identity.pid for _, identity in found] == [process.pid for process in processes[:3]]
    finally:
        for process in processes:
            process.kill()
            process.wait()
