import pytest

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.errors import InputError
from lft_ray.processes import this_process
from lft_ray.records import Endpoint
from lft_ray.serve.endpoint import messages

ENDPOINT = Endpoint(
    url="http://127.0.0.1:1", version="v", process=this_process(), ports={}, state="ready", bundle_uri="b"
)


def start_request(folder) -> messages.StartRequest:
    return messages.StartRequest(
        bundle_uri="b", spec=ServeSpec(port=0), site_uri=str(folder), folder=str(folder), log="", wait_s=1.0
    )


@pytest.mark.parametrize(
    "record",
    [
        messages.PromoteRequest(serial=3, bundle_uri=None, rollout=RolloutSpec(canary_share=0.1)),
        messages.PromoteResponse(serial=3, endpoint=ENDPOINT),
        messages.ProcessTree(processes=[this_process()]),
    ],
)
def test_each_message_type_has_its_own_file(tmp_path, record):
    assert messages.get(tmp_path, type(record)) is None
    messages.put(tmp_path, start_request(tmp_path))
    messages.put(tmp_path, record)
    assert messages.get(tmp_path, type(record)) == record
    assert messages.get(tmp_path, messages.StartRequest) == start_request(tmp_path)


def test_the_error_names_a_file_of_another_version(tmp_path):
    (tmp_path / "process_tree.json").write_text('{"started_at": {"7": 1.0}}')
    with pytest.raises(InputError, match=r"process_tree\.json cannot be read: processes: Field required") as raised:
        messages.get(tmp_path, messages.ProcessTree)
    assert "lft down" in raised.value.fix
