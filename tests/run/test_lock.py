"""The driver lock: refused while its holder lives, taken over once it is dead."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lft_ray.errors import InputError, RunGoneError
from lft_ray.run import lock as lock_module
from lft_ray.run.ledger import driver_lock
from lft_ray.run.lock import DriverLock, exclusive
from lft_ray.run.storage import Storage
from lft_ray.system import signals

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


def test_a_command_that_must_leave_at_once_releases_its_lock(storage):
    before = list(signals._owner.acts)
    with driver_lock(storage) as lock:
        (act,) = signals._owner.acts[len(before) :]
        act()
        assert lock.holder() is None
    assert signals._owner.acts == before


def test_a_command_that_must_leave_at_once_leaves_the_lock_of_another(storage):
    with driver_lock(storage) as lock:
        found = json.loads(storage.get("driver.lock"))
        found["process"]["pid"] = 1
        storage.put("driver.lock", json.dumps(found))
        lock._delete()
        assert storage.exists("driver.lock")
        storage.delete_file("driver.lock")


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


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(lock_module, "LEASE_S", 0.3)


def elsewhere(**more) -> dict:
    process = {"pid": 7, "start_ticks": 1, "boot_id": "a boot"}
    return {"host": "elsewhere", "process": process, "heartbeat_at": time.time(), **more}


@pytest.mark.parametrize("age_s", [-3600.0, 5.0, 1e6])
@pytest.mark.usefixtures("quick")
def test_a_driver_on_another_host_holds_the_run_while_its_heartbeat_changes(storage, age_s):
    """Whatever the clocks say: only whether the file changes while it is watched."""
    ended = threading.Event()

    def beat():
        number = 0
        while not ended.wait(0.02):
            number += 1
            storage.put("driver.lock", json.dumps(elsewhere(heartbeat_at=time.time() - age_s, beat=number)))

    storage.put("driver.lock", json.dumps(elsewhere(heartbeat_at=time.time() - age_s)))
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(InputError, match="elsewhere:7"), driver_lock(storage):
            pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("age_s", [-3600.0, 5.0, 1e6])
@pytest.mark.usefixtures("quick")
def test_a_driver_on_another_host_whose_heartbeat_stands_still_is_dead(storage, age_s):
    storage.put("driver.lock", json.dumps(elsewhere(heartbeat_at=time.time() - age_s)))
    said = []
    with driver_lock(storage, said.append) as lock:
        assert lock.holder().process.pid == os.getpid()
    assert "elsewhere:7: watching" in said[0]


@pytest.mark.parametrize("step_s", [-1e6, -1.5, 1.5, 1e6])
def test_a_step_of_the_clock_takes_no_lock(storage, other_driver, step_s):
    held = json.loads(storage.get("driver.lock"))
    storage.put("driver.lock", json.dumps(held | {"heartbeat_at": held["heartbeat_at"] + step_s}))
    with pytest.raises(InputError, match=rf":{other_driver.pid}\b"), driver_lock(storage):
        pass


def test_a_driver_in_another_pid_namespace_holds_its_run(storage, other_driver):
    """Its process id means nothing here; the kernel's lock does."""
    held = json.loads(storage.get("driver.lock"))
    unknown = held["process"] | {"pid": 2**22 + 7}
    storage.put("driver.lock", json.dumps(held | {"process": unknown, "pid_namespace": "pid:[1]"}))
    with pytest.raises(InputError, match="in use by process"), driver_lock(storage):
        pass
    other_driver.kill()
    other_driver.wait()
    with driver_lock(storage) as lock:
        assert lock.holder().process.pid == os.getpid()


@pytest.mark.usefixtures("quick")
def test_a_deleted_lock_file_is_written_again(storage):
    with driver_lock(storage) as lock:
        storage.delete_file("driver.lock")
        storage.delete_file(lock_module.GUARD)
        while lock.holder() is None or not (Path(storage.uri) / lock_module.GUARD).exists():
            time.sleep(0.01)
        assert not lock.lost
        DriverLock.check_held(storage)


@pytest.mark.usefixtures("quick")
def test_a_removed_run_folder_is_said_to_be_gone_and_not_made_anew(storage):
    with driver_lock(storage) as lock:
        storage.must_exist()
        shutil.rmtree(storage.uri)
        while not lock.lost:
            time.sleep(0.01)
        for write in (lambda: DriverLock.check_held(storage), lambda: storage.child("trials", "t000").put("x", b"")):
            with pytest.raises(RunGoneError, match="is gone"):
                write()
    assert not Path(storage.uri).exists()


def test_one_process_at_a_time_exports(storage):
    Path(storage.uri).mkdir()
    with (
        exclusive(storage, "export"),
        pytest.raises(InputError, match="another process is at the export"),
        exclusive(storage, "export", wait_s=0.1),
    ):
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
