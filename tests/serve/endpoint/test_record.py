import pytest

from lft_ray.errors import InputError
from lft_ray.processes import this_process
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record

ENDPOINT = Endpoint(
    url="http://127.0.0.1:1", version="v", process=this_process(), ports={}, state="ready", bundle_uri="b"
)


def test_a_record_survives_a_round_trip(tmp_path):
    storage = Storage(tmp_path)
    assert record.read(storage) is None
    assert record.write(storage, ENDPOINT) == ENDPOINT
    assert record.read(storage) == ENDPOINT


@pytest.mark.parametrize("content", ["{", '{"url": "http://127.0.0.1:1"}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / record.ENDPOINT_FILE).write_text(content)
    with pytest.raises(InputError, match=r"endpoint\.json cannot be read"):
        record.read(Storage(tmp_path))


def test_is_alive_means_the_same_process_and_not_the_same_id():
    own = this_process()
    assert record.is_alive(ENDPOINT)
    reused = own.model_copy(update={"start_ticks": own.start_ticks - 1})
    assert not record.is_alive(ENDPOINT.model_copy(update={"process": reused}))
    assert not record.is_alive(ENDPOINT.model_copy(update={"process": None}))


def test_make_folder_is_private_and_short(monkeypatch, tmp_path):
    deep = tmp_path / ("x" * 40)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = record.make_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) <= 36
    finally:
        folder.rmdir()
