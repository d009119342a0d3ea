import subprocess
import sys
import time

import pytest

from lft_ray.processes import alive, this_process
from lft_ray.run.flock import FileLock, last_holder, live_holder

HOLD = """
import sys, time
from pathlib import Path
from lft_ray.run.flock import FileLock
assert FileLock(Path(sys.argv[1]), "lft deploy", folder="f").acquire(wait_s=0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path, holder):
    path = tmp_path / "lock"
    found = live_holder(path)
    assert (found.process.pid, found.action, found.folder) == (holder.pid, "lft deploy", "f")
    assert str(found).startswith(f"lft deploy (process {holder.pid} on ")
    told = []
    lock = FileLock(path, "lft down")
    assert not lock.acquire(wait_s=0.2, on_wait=told.append)
    assert told == [found]
    holder.kill()
    assert lock.acquire(wait_s=10.0)
    assert not alive(found.process)
    assert live_holder(path).process == this_process()
    lock.release()
    assert live_holder(path) is None
    assert last_holder(path).process == this_process()


def test_a_lock_is_found_where_its_folder_was_moved(tmp_path):
    (tmp_path / "old").mkdir()
    lock = FileLock(tmp_path / "old" / "lock", "a")
    assert lock.path_now() is None
    assert lock.acquire(wait_s=0)
    (tmp_path / "old").rename(tmp_path / "new")
    assert lock.path_now() == tmp_path / "new" / "lock"
    (tmp_path / "new" / "lock").unlink()
    assert lock.path_now() is None
    lock.release()
    lock.release()


def test_no_lock_and_a_damaged_lock_have_no_holder(tmp_path):
    path = tmp_path / "lock"
    assert live_holder(path) is last_holder(path) is None
    path.write_text("{")
    assert live_holder(path) is last_holder(path) is None
    assert FileLock(path, "a").acquire(wait_s=0)


def test_a_child_process_does_not_keep_a_lock(tmp_path):
    lock = FileLock(tmp_path / "lock", "a")
    lock.acquire(wait_s=0)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        lock.release()
        # The kernel lets the parent go on just before it closes what the child must not inherit.
        while live_holder(tmp_path / "lock") is not None:
            assert child.poll() is None, "only the end of the child gave the lock back"
            time.sleep(0.01)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
