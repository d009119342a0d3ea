"""What the supervisor records; `test_deploy.py` runs a real one."""

import signal
from pathlib import Path

import pytest

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.records import ServedVersion
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.supervisor import Supervisor, main
from lft_ray.serve.rollout.controller import CanaryRun, RolloutResult
from lft_ray.serve.rollout.state import DesiredState


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = str(tmp_path)
    made = Supervisor(
        messages.StartRequest(
            bundle_uri="b", spec=ServeSpec(port=0), site_uri=folder, folder=folder, log="", wait_s=1.0
        )
    )
    made._publish(state="ready", version="1")
    return made


def recorded(folder: Path):
    return endpoints.read(Storage(folder))


def test_a_promotion_is_recorded_with_its_source_and_unused_copies_are_deleted(supervisor, tmp_path, bundles):
    copies = [supervisor._copies.add(bundles[name].uri, serial=n) for n, name in enumerate(("first", "second"))]
    stray = supervisor._copies.add(bundles["first"].uri, serial=7)
    supervisor._rollout.desired = DesiredState(current=copies[1], previous=copies[0])
    supervisor._rollout.history = (ServedVersion(version="1", uri=copies[0]),)
    supervisor._record(RolloutResult("promoted", version="2"))
    found = recorded(tmp_path)
    assert (found.version, found.bundle_uri) == ("2", bundles["second"].uri)
    assert (found.previous_version, found.previous_uri) == ("1", bundles["first"].uri)
    assert found.history == [ServedVersion(version="1", uri=bundles["first"].uri)]
    assert [Path(one).is_dir() for one in (*copies, stray)] == [True, True, False]


def test_a_rejection_leaves_the_endpoint_ready_and_names_the_original_bundle(supervisor, tmp_path, bundles):
    copy = supervisor._copies.add(bundles["first"].uri, serial=1)
    response = supervisor._record(RolloutResult("rejected", reason=f"{copy} is damaged"))
    assert (response.state, response.message) == ("rejected", f"{bundles['first'].uri} is damaged")
    found = recorded(tmp_path)
    assert (found.state, found.version) == ("ready", "1")
    assert found.message == f"the last promotion was rejected: {bundles['first'].uri} is damaged"


def test_a_running_canary_is_recorded_with_its_note(supervisor, tmp_path):
    canary = CanaryRun("uri", "2", RolloutSpec(canary_share=0.1), 0.0).record(60.0, "a note")
    supervisor._record(RolloutResult("canary", canary=canary))
    assert (recorded(tmp_path).message, recorded(tmp_path).canary) == ("a note", canary)


def test_a_request_of_another_version_is_refused_and_does_not_end_the_endpoint(supervisor, tmp_path):
    (tmp_path / "promote_request.json").write_text('{"serial": 1, "share": 0.5}')
    supervisor._handle_promotion()
    assert "promote_request.json cannot be read" in recorded(tmp_path).message
    assert messages.get(tmp_path, messages.PromoteResponse) is None


def test_a_promotion_request_without_a_known_bundle_gets_a_rejection(supervisor, tmp_path):
    request = messages.PromoteRequest(serial=5, bundle_uri=str(tmp_path / "none"))
    messages.put(tmp_path, request)
    supervisor._handle_promotion()
    response = messages.get(tmp_path, messages.PromoteResponse)
    assert (response.serial, response.endpoint.state) == (5, "rejected")


def test_only_a_stop_signal_ends_a_wait_and_a_promotion_stays_queued(supervisor):
    supervisor._signals.put(signal.SIGHUP)
    assert not supervisor._stop_requested()
    supervisor._signals.put(signal.SIGTERM)
    assert supervisor._stop_requested()
    assert supervisor._signals.get_nowait() == signal.SIGHUP


def test_main_needs_a_start_request(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "there is no start_request.json" in capsys.readouterr().err


def test_what_a_successor_must_know_is_written_down(supervisor, tmp_path, bundles):
    copy = supervisor._copies.add(bundles["first"].uri, serial=0)
    supervisor._rollout.desired = DesiredState(current=copy, previous="before", serial=3)
    supervisor._last_serial = 9
    supervisor._publish(version="1")
    request = messages.StartRequest(
        bundle_uri="b", spec=ServeSpec(port=0), site_uri=str(tmp_path), folder=str(tmp_path), log="", wait_s=1.0
    )
    successor = Supervisor(request, messages.get(tmp_path, messages.ServingState))
    assert (successor._port, successor._grpc_port) == (supervisor._port, supervisor._grpc_port)
    assert successor._state.desired == supervisor._rollout.desired
    assert successor._copies.sources == {copy: bundles["first"].uri}
    assert successor._last_serial == 9
    assert successor._endpoint == supervisor._endpoint


def test_a_promotion_that_ended_the_predecessor_is_rejected_and_not_tried_again(supervisor, tmp_path, bundles):
    messages.put(tmp_path, messages.PromoteRequest(serial=5, bundle_uri=bundles["first"].uri))
    supervisor._last_serial = 5
    supervisor._resume_promotion()
    response = messages.get(tmp_path, messages.PromoteResponse)
    assert (response.serial, response.endpoint.state) == (5, "rejected")
    assert "had to recover" in response.endpoint.message


def test_a_promotion_that_nobody_could_decide_is_decided_later(supervisor, tmp_path):
    messages.put(tmp_path, messages.PromoteRequest(serial=5, bundle_uri=str(tmp_path / "none")))
    supervisor._resume_promotion()
    assert messages.get(tmp_path, messages.PromoteResponse).serial == 5
    before = messages.get(tmp_path, messages.PromoteResponse)
    supervisor._resume_promotion()
    assert messages.get(tmp_path, messages.PromoteResponse) == before
