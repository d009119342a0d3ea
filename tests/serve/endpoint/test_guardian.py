"""Decisions of the guardian; `tests/chaos/test_endpoint_faults.py` kills what a real one watches."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from lft_ray.config import ServeSpec
from lft_ray.errors import LftError
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import free_port, haproxy_binary
from lft_ray.serve.endpoint import guardian as module
from lft_ray.serve.endpoint import messages, process_tree
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.guardian import Guardian
from lft_ray.serve.endpoint.record import make_folder
from lft_ray.serve.waiting import wait_until

needs_haproxy = pytest.mark.skipif(haproxy_binary() is None, reason="ray[serve] brings no HAProxy on this platform")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # A guardian ends all descendants of its process, which is here the one of the tests: its other children stay,
    # such as the resource tracker of multiprocessing.
    others = {process.pid for process in process_tree.descendants()}
    every = process_tree.descendants
    monkeypatch.setattr(process_tree, "descendants", lambda: [p for p in every() if p.pid not in others])
    made = make_folder()
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


def guardian(folder: Path, run: Path, **spec) -> Guardian:
    request = messages.StartRequest(
        bundle_uri="b",
        spec=ServeSpec(**{"port": 0, **spec}),
        site_uri=str(run),
        folder=str(folder),
        log="",
        wait_s=1.0,
    )
    messages.put(folder, request)
    return Guardian(request)


def recorded(run: Path):
    return endpoints.read(Storage(run))


def served_before(made: Guardian) -> Guardian:
    made._publish(state="ready", version="1", ready_after_s=9.0)
    return made


def test_a_first_start_that_fails_is_not_repeated_unless_a_port_was_taken(folder, tmp_path):
    made = guardian(folder, tmp_path)
    assert not made._may_restart("the bundle is rejected")
    assert made._may_restart("HAProxy crashed during startup: cannot bind socket (Address already in use)")
    assert made._may_restart("RayTaskError(RuntimeError): RuntimeError: Failed to bind to address '127.0.0.1:31044'.")
    assert made._may_restart("Ray's raylet ended"), "a machine that is busy for a moment must not fail a deployment"
    made._restarts = [time.monotonic()] * 2
    assert not made._may_restart("cannot bind socket")
    assert not made._may_restart("Ray's raylet ended")


def test_restarts_are_bounded_and_old_ones_are_forgotten(folder, tmp_path, monkeypatch):
    made = served_before(guardian(folder, tmp_path))
    made._restarts = [time.monotonic()] * 4
    assert made._may_restart("Ray's core processes are gone")
    made._restarts = [time.monotonic()] * 5
    assert not made._may_restart("Ray's core processes are gone")
    made._ready_at = time.monotonic() - 30
    assert not made._may_restart("Ray's core processes are gone")
    made._ready_at = time.monotonic() - 61
    assert made._may_restart("Ray's core processes are gone"), "it served for a minute: nothing that dies at once"
    assert made._restarts == []
    made._restarts = [time.monotonic()] * 5
    monkeypatch.setattr(module, "_RESTARTS_WITHIN_S", 0.0)
    assert made._may_restart("Ray's core processes are gone")


def test_the_reason_of_the_process_with_ray_counts_and_rays_last_words_are_logged(folder, tmp_path, capsys):
    made = guardian(folder, tmp_path)
    logs = folder / "r" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text("one\ntwo\n\nthree\nfour, with its reason\n")
    made._child = subprocess.Popen([sys.executable, "-c", ""])
    assert made._after_death(["raylet"]) == "Ray's raylet ended"
    assert "raylet.out: four, with its reason" in capsys.readouterr().err
    messages.put(folder, made._state.model_copy(update={"failure": "the bundle is rejected"}))
    assert made._after_death(["raylet"]) == "the bundle is rejected"


@needs_haproxy
def test_the_port_is_held_from_the_start_and_through_a_recovery(folder, tmp_path):
    made = guardian(folder, tmp_path)
    made._hold_port()
    try:
        url = made._state.endpoint.url
        assert httpx.get(url, trust_env=False).json()["error"] == "the endpoint is starting"
        served_before(made)._recover("Ray's core processes are gone")
        response = httpx.get(url, trust_env=False)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"] == "the endpoint is recovering"
        found = recorded(tmp_path)
        assert (found.state, found.message, found.version) == ("recovering", "Ray's core processes are gone", "1")
    finally:
        made._front.stop()


@needs_haproxy
def test_a_stand_in_that_dies_is_replaced(folder, tmp_path):
    made = guardian(folder, tmp_path)
    made._hold_port()
    try:
        os.kill(made._front.pid, signal.SIGKILL)
        assert wait_until(lambda: made._front.probe() == "refused", timeout_s=10)
        made._look_at_port([])
        assert made._front.probe() == "answers"
    finally:
        made._front.stop()


@needs_haproxy
def test_a_given_port_in_use_is_an_error_and_a_drawn_one_is_drawn_again(folder, tmp_path, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(LftError, match=rf"(?s)cannot listen on 127\.0\.0\.1.*{taken}"):
            guardian(folder, tmp_path, port=taken)._hold_port()
        drawn = iter([taken, free_port()])
        monkeypatch.setattr(module, "free_port", lambda _: next(drawn))
        made = guardian(folder, tmp_path)
        made._hold_port()
        made._front.stop()
        assert made._state.port != taken
        assert recorded(tmp_path).ports["http"] == made._state.port


def test_a_child_that_fails_ends_the_endpoint_with_its_reason_and_without_litter(folder, tmp_path):
    made = guardian(folder, tmp_path)
    # The bundle is not there: the child fails before Ray starts, or as soon as it looks for the bundle.
    made._state = made._state.model_copy(update={"failure": ""})
    command = [sys.executable, "-c", "import sys; sys.exit(7)"]
    made._child = subprocess.Popen(command)
    made._child.wait()
    made._shut_down()
    assert not folder.exists()
