import os
import subprocess
import sys
import time

import psutil
import pytest
from pydantic import ValidationError

from lft_ray import processes
from lft_ray.processes import ProcessIdentity, alive, identity_of, this_process
from tests.conftest import SLEEP


def test_a_process_that_runs_is_alive_and_has_one_identity(sleeper):
    found = identity_of(sleeper.pid)
    assert found.pid == sleeper.pid
    assert alive(found)
    assert identity_of(sleeper.pid) == found
    assert this_process() == identity_of(os.getpid())
    assert this_process() != found


def test_the_identity_survives_a_file():
    mine = this_process()
    assert ProcessIdentity.model_validate_json(mine.model_dump_json()) == mine
    with pytest.raises(ValidationError, match="started_at"):
        ProcessIdentity.model_validate_json('{"pid": 1, "start_ticks": 1, "boot_id": "", "started_at": 1.0}')


def test_a_reused_process_id_is_another_process(sleeper):
    found = identity_of(sleeper.pid)
    assert not alive(found.model_copy(update={"start_ticks": found.start_ticks - 1}))


def test_a_process_of_another_boot_is_not_alive():
    mine = this_process()
    assert mine.boot_id
    assert not alive(mine.model_copy(update={"boot_id": "00000000-0000-0000-0000-000000000000"}))


def test_a_zombie_is_not_alive():
    process = subprocess.Popen(SLEEP)
    found = identity_of(process.pid)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert identity_of(process.pid) is None
    assert not alive(found)
    process.wait()


def test_a_dead_process_is_not_alive(sleeper):
    found = identity_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert identity_of(sleeper.pid) is None
    assert not alive(found)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is of Linux")
def test_a_name_with_blanks_and_parentheses_is_read(tmp_path):
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "60"])
    try:
        # Until it has become the named program it is a copy of this one, which started at the same time.
        while psutil.Process(process.pid).name() != odd.name:
            time.sleep(0.01)
        expected_s = psutil.Process(process.pid).create_time() - psutil.boot_time()
        assert identity_of(process.pid).start_ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(expected_s, abs=2.0)
    finally:
        process.kill()
        process.wait()


def test_where_there_is_no_proc_psutil_says_the_same(sleeper, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processes, "_boot_id", lambda: "a boot")
    found = identity_of(sleeper.pid)
    assert alive(found)
    assert identity_of(2**22 + 1) is None
