"""The driver lock: refused while its holder lives, taken over once it is dead."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lft_ray.errors import InputError
from lft_ray.run.ledger import driver_lock
from lft_ray.run.storage import Storage

HOLD = """
import sys, time
from lft_ray.run.ledger import driver_lock
from lft_ray.run.storage import Storage
with driver_lock(Storage(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "run")


@pytest.fixture
def other_driver(storage):
    process = subprocess.Popen([sys.executable, "-c", HOLD, storage.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_driver_is_refused_by_name(storage, other_driver):
    with pytest.raises(InputError, match=rf":{other_driver.pid}\b"), driver_lock(storage):
        pass


def test_the_lock_of_a_killed_driver_is_taken_over(storage, other_driver):
    other_driver.send_signal(signal.SIGKILL)
    # Not waited for: a zombie holds nothing either.
    while psutil.Process(other_driver.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with driver_lock(storage) as lock:
        assert lock.holder().process.pid == os.getpid()
    assert lock.holder() is None


def test_a_reused_pid_holds_nothing(storage):
    with driver_lock(storage) as lock:
        mine = lock.holder()
    earlier = mine.process.model_copy(update={"start_ticks": mine.process.start_ticks - 1})
    storage.put("driver.lock", mine.model_copy(update={"process": earlier}).model_dump_json())
    with driver_lock(storage) as lock:
        assert lock.holder().same(mine)


@pytest.mark.parametrize(("age_s", "is_free"), [(5.0, False), (1000.0, True)])
def test_a_driver_on_another_host_holds_the_run_while_its_heartbeat_is_recent(storage, age_s, is_free):
    process = {"pid": 7, "start_ticks": 1, "boot_id": "a boot"}
    holder = {"host": "elsewhere", "process": process, "heartbeat_at": time.time() - age_s}
    storage.put("driver.lock", json.dumps(holder))
    if is_free:
        with driver_lock(storage) as lock:
            assert lock.holder().process.pid == os.getpid()
    else:
        with pytest.raises(InputError, match="elsewhere:7"), driver_lock(storage):
            pass


def test_the_holder_may_enter_again(storage):
    with driver_lock(storage) as outer, driver_lock(storage):
        pass
    assert outer.holder() is None


def test_a_lock_of_another_version_is_named_and_left_alone(storage):
    old = b'{"host": "x", "pid": 7, "process_started_at": 1.0, "heartbeat_at": 2.0}'
    storage.put("driver.lock", old)
    with (
        pytest.raises(InputError, match=r"driver\.lock cannot be read: process: Field required") as raised,
        driver_lock(storage),
    ):
        pass
    assert "delete the file" in raised.value.fix
    assert storage.get("driver.lock") == old


def test_a_driver_that_lost_its_run_to_another_version_leaves_the_lock(storage):
    with driver_lock(storage):
        storage.put("driver.lock", b'{"host": "x"}')
    assert storage.get("driver.lock") == b'{"host": "x"}'


def test_a_truncated_lock_file_is_ignored(storage):
    storage.put("driver.lock", b'{"host": "x"')
    with driver_lock(storage) as lock:
        assert lock.holder().process.pid == os.getpid()
