import shutil
import sys

import pytest

from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.site import Site


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(url="http://127.0.0.1:1", version="1", process=None, ports={}, state="ready", bundle_uri="b")


def test_the_record_is_in_the_run_folder(tmp_path, endpoint):
    Site(str(tmp_path)).write(endpoint)
    assert endpoints.read(Storage(tmp_path)) == endpoint


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux names the path of an open folder")
def test_a_moved_run_folder_is_found_and_the_old_one_is_not_made_anew(tmp_path, endpoint):
    run = tmp_path / "run"
    run.mkdir()
    site = Site(str(run))
    run.rename(tmp_path / "moved")
    site.write(endpoint)
    assert not run.exists()
    assert endpoints.read(Storage(tmp_path / "moved")) == endpoint


@pytest.mark.parametrize("again", [False, True])
def test_a_deleted_run_folder_stays_deleted(tmp_path, endpoint, again):
    run = tmp_path / "run"
    run.mkdir()
    site = Site(str(run))
    shutil.rmtree(run)
    if again:
        (tmp_path / "other").mkdir()
        run.mkdir()  # another run of the same name, which is not ours
    assert site.write(endpoint) == endpoint
    assert not (run / "endpoint.json").exists()


def test_a_record_that_was_deleted_is_written_again(tmp_path, endpoint):
    run = tmp_path / "run"
    run.mkdir()
    site = Site(str(run))
    site.write(endpoint)
    assert not site.keep(endpoint)
    (run / "endpoint.json").unlink()
    assert site.keep(endpoint)
    assert endpoints.read(Storage(run)) == endpoint
    shutil.rmtree(run)
    assert not site.keep(endpoint)
    assert not run.exists()
