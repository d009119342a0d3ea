import subprocess

import pytest

from lft_ray.config import ServeSpec
from lft_ray.processes import identity_of
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.bundle_copies import store_of
from lft_ray.serve.endpoint.leftovers import clean_up_dead, remove_folder
from tests.conftest import SLEEP


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = tmp_path / "lft-abc"
    made.mkdir()
    store_of(made).mkdir(parents=True)
    return made


def dead(folder) -> Endpoint:
    return Endpoint(
        url="http://127.0.0.1:1",
        version="1",
        process=None,
        ports={},
        state="ready",
        bundle_uri="b",
        folder=str(folder),
    )


def request(folder) -> messages.StartRequest:
    spec = ServeSpec(port=0)
    return messages.StartRequest(
        bundle_uri="b", spec=spec, site_uri=str(folder), folder=str(folder), log="", wait_s=1.0
    )


def test_a_dead_endpoint_leaves_no_process_no_folder_and_no_copy(folder, tmp_path):
    messages.put(folder, request(folder))
    left = subprocess.Popen([*SLEEP, str(folder / "h" / "stand-in.cfg")])
    try:
        stopped = clean_up_dead(dead(folder), Storage(tmp_path))
        assert identity_of(left.pid) is None
    finally:
        left.kill()
        left.wait()
    assert not folder.exists()
    assert not store_of(folder).exists()
    assert stopped.state == endpoints.read(Storage(tmp_path)).state == "stopped"


def test_a_folder_that_is_not_ours_is_not_touched(folder, tmp_path):
    (folder / "thesis.txt").touch()
    clean_up_dead(dead(folder), Storage(tmp_path))
    assert (folder / "thesis.txt").exists()


def test_leftovers_of_another_version_are_cleaned_too(folder, tmp_path):
    (folder / "start_request.json").write_text("{}")
    (folder / "process_tree.json").write_text('{"pids": [1]}')
    clean_up_dead(dead(folder), Storage(tmp_path))
    assert not folder.exists()


def test_a_private_folder_that_a_cleaner_removed_leaves_its_copies_to_us(folder, tmp_path):
    folder.rmdir()
    clean_up_dead(dead(folder), Storage(tmp_path))
    assert not store_of(folder).exists()


def test_the_log_of_a_run_in_a_bucket_is_kept(folder):
    log = folder / "endpoint.log"
    log.write_text("why")
    (folder / "token").touch()
    (folder / "r").mkdir()
    remove_folder(folder, keep=str(log))
    assert [path.name for path in folder.iterdir()] == ["endpoint.log"]
