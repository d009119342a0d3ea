import pytest

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.delivery import Endpoint
from lft_ray.errors import InputError
from lft_ray.processes import this_process
from lft_ray.serve import endpoint as endpoints
from lft_ray.serve import orders
from lft_ray.serve.supervisor import Supervisor
from lft_ray.storage import Storage

ENDPOINT = Endpoint(
    url="http://127.0.0.1:1", version="v", process=this_process(), ports={}, state="ready", bundle_uri="b"
)


def start_request(folder) -> orders.StartRequest:
    return orders.StartRequest(
        bundle_uri="b", spec=ServeSpec(port=0), site_uri=str(folder), folder=str(folder), log="", wait_s=1.0
    )


@pytest.mark.parametrize(
    "record",
    [
        orders.PromoteRequest(serial=3, bundle_uri=None, rollout=RolloutSpec(canary_share=0.1)),
        orders.PromoteResponse(serial=3, endpoint=ENDPOINT),
        orders.ProcessTree(processes=[this_process()]),
    ],
)
def test_each_kind_has_a_file_of_its_own(tmp_path, record):
    assert orders.get(tmp_path, type(record)) is None
    orders.put(tmp_path, start_request(tmp_path))
    orders.put(tmp_path, record)
    assert orders.get(tmp_path, type(record)) == record
    assert orders.get(tmp_path, orders.StartRequest) == start_request(tmp_path)


def test_a_file_of_another_version_is_named(tmp_path):
    (tmp_path / "process_tree.json").write_text('{"started_at": {"7": 1.0}}')
    with pytest.raises(InputError, match=r"process_tree\.json cannot be read: processes: Field required") as raised:
        orders.get(tmp_path, orders.ProcessTree)
    assert "lft down" in raised.value.fix


def test_a_request_of_another_version_is_refused_and_does_not_end_the_endpoint(tmp_path):
    supervisor = Supervisor(start_request(tmp_path))
    (tmp_path / "promote_request.json").write_text('{"serial": 1, "share": 0.5}')
    supervisor._answer()
    assert "promote_request.json cannot be read" in endpoints.read(Storage(tmp_path)).message
    assert orders.get(tmp_path, orders.PromoteResponse) is None
