"""Every command against every state of an endpoint, with a supervisor process that starts no Ray."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.errors import InputError, UnreachableError
from lft_ray.processes import alive, this_process
from lft_ray.records import Endpoint
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import deploy as deploy_module
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.deploy import deploy, down, rollback
from lft_ray.serve.endpoint.locks import one_command, serving
from lft_ray.serve.endpoint.look import look, require_live

SPEC = ServeSpec(port=0)


def kill(endpoint: Endpoint) -> None:
    os.kill(endpoint.pid, signal.SIGKILL)
    # The lock outlives the main thread until the other threads have ended, too.
    while alive(endpoint.process) or serving(Storage(Path(endpoint.log).parent)) is not None:
        time.sleep(0.01)


def edit(run: Path, **changes: object) -> Endpoint:
    return endpoints.write(Storage(run), endpoints.read(Storage(run)).replace(**changes))


# ---------------------------------------------------------------- status


def test_status_follows_an_endpoint_through_its_states(fakes, bundles):
    run = fakes.new()
    assert look(Storage(run)) is None
    live = deploy(run, bundles["first"], SPEC)
    view = look(Storage(run))
    assert (view.state, view.url, view.version, view.pid) == ("ready", live.url, bundles["first"].version, live.pid)
    assert (view.replicas_wanted, view.log) == ("1 to 4", str(run / "endpoint.log"))
    assert 0 <= view.age_s < 600
    fakes.mode("503")
    assert look(Storage(run)).state == "not_ready"
    fakes.mode("hang")
    begun = time.monotonic()
    view = look(Storage(run))
    assert (view.state, "within 1 s" in view.message) == ("unreachable", True)
    assert time.monotonic() - begun < 20
    kill(live)
    view = look(Storage(run))
    assert (view.state, view.age_s) == ("dead", None)
    assert f"its process {live.pid} is gone" in view.message
    assert view.log == live.log


def test_a_starting_endpoint_is_shown_and_waited_for(fakes, bundles):
    run = fakes.new()
    fakes.mode("slow")
    results: list[Endpoint] = []
    starter = threading.Thread(target=lambda: results.append(deploy(run, bundles["first"], SPEC)))
    starter.start()
    while not (run / "endpoint.json").exists():
        time.sleep(0.01)
    assert look(Storage(run)).state == "starting"
    with pytest.raises(UnreachableError, match="is starting"):
        require_live(Storage(run))
    fakes.mode("")
    starter.join()
    assert require_live(Storage(run)) == results[0]
    down(run)


def test_a_start_is_waited_for_while_its_processes_work(fakes, bundles, monkeypatch):
    seconds = count(step=1000)

    def working(pid: int) -> float:
        if found := next(seconds):  # the first round is over
            fakes.mode("")
        return float(found)

    monkeypatch.setattr(deploy_module, "cpu_s_below", working)
    run = fakes.new()
    fakes.mode("slow")
    assert deploy(run, bundles["first"], SPEC, wait_s=1.0).state == "ready"
    down(run)


def test_a_start_in_which_nothing_moves_is_given_up(fakes, bundles):
    run = fakes.new()
    fakes.mode("slow")
    with pytest.raises(UnreachableError, match="was not ready within 1 s"):
        deploy(run, bundles["first"], SPEC, wait_s=1.0)
    assert serving(Storage(run)) is None


def test_a_dead_endpoint_is_named_by_every_command(fakes, bundles):
    run = fakes.new()
    kill(deploy(run, bundles["first"], SPEC))
    for call in (lambda: require_live(Storage(run)), lambda: rollback(run)):
        with pytest.raises(UnreachableError, match="is dead: its process") as raised:
            call()
        assert "lft deploy" in raised.value.fix
    assert down(run) is None
    assert endpoints.read(Storage(run)).state == "stopped"


def test_a_deployment_after_a_crash_leaves_nothing_of_the_dead_one(fakes, bundles):
    run = fakes.new()
    dead = deploy(run, bundles["first"], SPEC)
    kill(dead)
    live = deploy(run, bundles["second"], SPEC)
    assert not Path(dead.folder).exists()
    assert (live.version, live.history) == (bundles["second"].version, [])
    assert down(run).state == "stopped"
    assert not Path(live.folder).exists()


def test_what_a_dead_endpoint_left_on_its_port_is_removed_before_the_port_is_checked(fakes, bundles):
    run = fakes.new()
    dead = deploy(run, bundles["first"], SPEC)
    port = dead.ports["http"]
    kill(dead)
    code = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
    left = subprocess.Popen([sys.executable, "-c", code, str(port), f"{dead.folder}/h/haproxy.cfg"])
    try:
        while not is_open(port):
            time.sleep(0.01)
        live = deploy(run, bundles["first"], ServeSpec(port=port))
        assert live.ports["http"] == port
        left.wait(timeout=10)  # it would have slept for a minute
        down(run)
    finally:
        left.kill()
        left.wait()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_live_endpoint_is_not_forgotten_for_one_on_a_cluster(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    with pytest.raises(InputError, match=f"outside this cluster: process {live.pid}"):
        deploy(run, bundles["first"], ServeSpec(), address="nowhere:1")
    edit(run, address="h:1", process=None)
    down_by_kill = live.process
    os.kill(down_by_kill.pid, signal.SIGKILL)
    while alive(down_by_kill):
        time.sleep(0.01)
    with pytest.raises(InputError, match="add --address h:1"):
        deploy(run, bundles["first"], SPEC)


# ---------------------------------------------------------------- one command at a time


def test_of_two_deployments_at_once_one_starts_and_the_other_promotes(fakes, bundles):
    run = fakes.new()
    results: list[Endpoint] = []
    threads = [
        threading.Thread(target=lambda name=name: results.append(deploy_process(run, bundles[name].uri)))
        for name in ("first", "second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.state for one in results] == ["ready", "ready"]
    assert results[0].process == results[1].process
    found = endpoints.read(Storage(run))
    assert {found.version, *(one.version for one in found.history)} == {one.version for one in bundles.values()}
    assert down(run).process == results[0].process
    assert serving(Storage(run)) is None


DEPLOY = """
import sys
from lft_ray.config import ServeSpec
from lft_ray.serve.endpoint import deploy as deploying
deploying.SUPERVISOR = "tests.serve.endpoint.fake"
print(deploying.deploy(sys.argv[1], sys.argv[2], ServeSpec(port=0)).model_dump_json())
"""


def deploy_process(run: Path, bundle_uri: str) -> Endpoint:
    done = subprocess.run([sys.executable, "-c", DEPLOY, str(run), bundle_uri], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Endpoint.model_validate_json(done.stdout)


def test_a_command_that_waits_too_long_says_who_is_at_it(fakes, tmp_path):
    run = fakes.new()
    code = (
        "import sys, time\nfrom lft_ray.run.storage import Storage\n"
        "from lft_ray.serve.endpoint.locks import one_command\n"
        "with one_command(Storage(sys.argv[1]), 'lft deploy'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        told = []
        with (
            pytest.raises(UnreachableError, match=rf"lft deploy \(process {holder.pid} on "),
            one_command(Storage(run), "lft rollback", wait_s=0.2, on_wait=told.append),
        ):
            pytest.fail("two commands at a time")
        assert [one.process.pid for one in told] == [holder.pid]
        with pytest.raises(InputError, match="lft deploy"):
            RunFolder(run)._refuse_live()
    finally:
        holder.kill()
        holder.communicate()
    with one_command(Storage(run), "lft rollback", wait_s=5.0):
        pass


def test_down_stops_an_endpoint_that_is_starting(fakes, bundles):
    run = fakes.new()
    fakes.mode("slow")
    failures: list[Exception] = []

    def start() -> None:
        try:
            deploy(run, bundles["first"], SPEC)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    while serving(Storage(run)) is None or not (run / "endpoint.json").exists():
        time.sleep(0.01)
    assert down(run, wait_s=30).state == "stopped"
    starter.join()
    assert "did not start" in str(failures[0])
    assert look(Storage(run)).state == "stopped"


# ---------------------------------------------------------------- promotion and rollback


def test_the_way_back_survives_repeated_deployments_of_one_bundle(fakes, bundles):
    run = fakes.new()
    deploy(run, bundles["first"], SPEC)
    deploy(run, bundles["second"], SPEC)
    for _ in range(2):
        again = deploy(run, bundles["second"], SPEC)
        assert (again.state, again.message) == ("ready", "it is served already, nothing was changed")
        assert [one.version for one in again.history] == [bundles["first"].version]
    back = rollback(run)
    assert (back.state, back.version, back.history) == ("ready", bundles["first"].version, [])
    assert back.message == f"rolled back from {bundles['second'].version} to {bundles['first'].version}"
    refused = rollback(run)
    assert (refused.state, refused.version) == ("rejected", bundles["first"].version)
    assert "no earlier bundle" in refused.message
    assert endpoints.read(Storage(run)).message == back.message, "a refused rollback is no news of the endpoint"
    down(run)


def test_a_canary_is_not_restarted_and_is_ended_by_the_bundle_that_runs(fakes, bundles):
    run = fakes.new()
    deploy(run, bundles["first"], SPEC)
    canary = ServeSpec(port=0, rollout=RolloutSpec(canary_share=0.2))
    started = deploy(run, bundles["second"], canary)
    assert started.has_canary
    again = deploy(run, bundles["second"], canary)
    assert again.message == f"the canary of version {bundles['second'].version} is running"
    ended = deploy(run, bundles["first"], SPEC)
    assert (ended.state, ended.has_canary) == ("ready", False)
    assert "was ended" in ended.message
    deploy(run, bundles["second"], canary)
    back = rollback(run)
    assert (back.state, back.has_canary, back.version) == ("ready", False, bundles["first"].version)
    assert back.message == f"the canary of version {bundles['second'].version} was ended"
    down(run)


def test_a_damaged_bundle_is_rejected_and_keeps_the_record(fakes, bundles, tmp_path):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    bad = shutil.copytree(bundles["second"].uri, tmp_path / "bad")
    (bad / "smoke.json").write_text("{}")
    rejected = deploy(run, str(bad), SPEC)
    assert (rejected.state, "smoke.json" in rejected.message) == ("rejected", True)
    assert endpoints.read(Storage(run)).version == live.version
    down(run)


@pytest.mark.parametrize("hours", [-5.0, 5.0])
def test_no_command_depends_on_the_clock(fakes, bundles, monkeypatch, hours):
    run, real = fakes.new(), time.time
    deploy(run, bundles["first"], SPEC)
    monkeypatch.setattr("time.time", lambda: real() + hours * 3600)
    assert look(Storage(run)).state == "ready"
    assert deploy(run, bundles["second"], SPEC).version == bundles["second"].version
    monkeypatch.setattr("time.time", lambda: real() - hours * 3600)
    assert rollback(run).version == bundles["first"].version
    assert deploy(run, bundles["second"], SPEC).version == bundles["second"].version
    with pytest.raises(InputError, match="serves a live endpoint"):
        RunFolder(run)._refuse_live()
    assert look(Storage(run)).age_s < 600
    assert down(run).state == "stopped"
    RunFolder(run)._refuse_live()


# ---------------------------------------------------------------- settings of a live endpoint


def test_given_settings_of_a_live_endpoint_are_applied_or_refused(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    with pytest.raises(InputError, match=r"cannot change serve\.port \(it is 0, given 19999\)") as raised:
        deploy(run, bundles["second"], ServeSpec(port=19999), given=("serve.port",))
    assert "lft down" in raised.value.fix
    assert endpoints.read(Storage(run)).version == live.version, "refused before anything was changed"
    scaled = deploy(
        run,
        bundles["first"],
        ServeSpec(autoscaling=AutoscalingSpec(max_replicas=2)),
        given=("serve.autoscaling.max_replicas",),
    )
    assert "autoscaling was applied: 1 to 2 replicas" in scaled.message
    assert look(Storage(run)).replicas_wanted == "1 to 2"
    with pytest.raises(InputError, match=r"4096 replicas"):
        deploy(
            run,
            bundles["first"],
            ServeSpec(autoscaling=AutoscalingSpec(min_replicas=4096, max_replicas=4096)),
            given=("serve.autoscaling",),
        )
    both = deploy(
        run, bundles["second"], ServeSpec(autoscaling=AutoscalingSpec(max_replicas=3)), given=("serve.autoscaling",)
    )
    assert (both.version, both.spec.autoscaling.max_replicas) == (bundles["second"].version, 3)
    down(run)


def test_what_an_earlier_command_set_stays_without_being_given_again(fakes, bundles):
    run = fakes.new()
    deploy(run, bundles["first"], ServeSpec(port=0, autoscaling=AutoscalingSpec(max_replicas=2)))
    promoted = deploy(run, bundles["second"], ServeSpec())
    assert (promoted.version, promoted.spec.autoscaling.max_replicas) == (bundles["second"].version, 2)
    down(run)


def test_a_foreground_deployment_of_a_live_endpoint_is_refused(fakes, bundles):
    run = fakes.new()
    deploy(run, bundles["first"], SPEC)
    with pytest.raises(InputError, match="has a live endpoint"):
        deploy(run, bundles["second"], SPEC, foreground=True)
    down(run)


def test_a_port_that_is_taken_during_the_start_is_bad_input(fakes, bundles):
    run = fakes.new()
    fakes.mode("bind")
    with pytest.raises(InputError, match=r"cannot bind port 1 \(serve\.port\)"):
        deploy(run, bundles["first"], SPEC)


# ---------------------------------------------------------------- keys


def test_keys_are_readable_nowhere_but_where_the_user_put_them(fakes, bundles, monkeypatch):
    run, key = fakes.new(), "a-key-that-nobody-else-has"
    monkeypatch.setenv("LFT_API_KEYS", f"{key},another")
    monkeypatch.setenv("MY_COPY", key)
    monkeypatch.setenv("LFT_API_KEY", key)
    live = deploy(run, bundles["first"], SPEC)
    for name in ("environ", "cmdline"):
        assert key.encode() not in Path(f"/proc/{live.pid}/{name}").read_bytes()
    files = [path for folder in (run, Path(live.folder)) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if key.encode() in path.read_bytes()]
    assert deploy(run, bundles["second"], SPEC).state == "ready"
    monkeypatch.setenv("LFT_API_KEYS", "a-new-key")
    with pytest.raises(InputError, match="are not those of the live endpoint"):
        deploy(run, bundles["first"], SPEC)
    monkeypatch.delenv("LFT_API_KEYS")
    assert deploy(run, bundles["first"], SPEC).state == "ready"
    down(run)


# ---------------------------------------------------------------- moved, copied and damaged folders


def test_a_moved_run_is_served_promoted_and_stopped_at_its_new_place(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    moved = run.rename(run.with_name("moved"))
    view = look(Storage(moved))
    assert (view.state, view.log) == ("ready", str(moved / "endpoint.log"))
    promoted = deploy(moved, bundles["second"], SPEC)
    assert (promoted.version, promoted.pid) == (bundles["second"].version, live.pid)
    assert endpoints.read(Storage(moved)).version == bundles["second"].version
    assert rollback(moved).version == bundles["first"].version
    assert down(moved).state == "stopped"
    assert not run.exists(), "the old place must not be created again"
    assert down(moved) is None


def test_an_endpoint_whose_run_was_moved_writes_to_the_new_place_without_a_command(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    moved = run.rename(run.with_name("moved"))
    os.kill(live.pid, signal.SIGTERM)
    while alive(live.process):
        time.sleep(0.01)
    assert endpoints.read(Storage(moved)).state == "stopped"
    assert not run.exists()


def test_a_copied_run_has_no_endpoint_and_leaves_that_of_the_original_alone(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    copy = Path(shutil.copytree(run, run.with_name("copy")))
    assert look(Storage(copy)) is None
    assert down(copy) is None
    with pytest.raises(InputError, match="no live endpoint"):
        rollback(copy)
    own = deploy(copy, bundles["second"], SPEC)
    assert own.process != live.process
    assert down(copy).process == own.process
    assert look(Storage(run)).state == "ready"
    down(run)


@pytest.mark.parametrize("content", ["", '{"url": "http://h', "\0" * 64, "[]", '{"url": 1}'])
def test_a_damaged_record_is_named_and_down_is_the_way_out(fakes, bundles, content):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    (run / "endpoint.json").write_text(content)
    calls = [lambda: look(Storage(run)), lambda: require_live(Storage(run)), lambda: rollback(run)]
    for call in (*calls, lambda: deploy(run, bundles["second"], SPEC)):
        with pytest.raises(InputError, match=r"endpoint\.json cannot be read") as raised:
            call()
        assert "lft down" in raised.value.fix
    assert alive(live.process)
    assert down(run).state == "stopped"
    assert not alive(live.process)
    assert not Path(live.folder).exists()


def test_a_damaged_record_of_a_dead_endpoint_is_set_aside(fakes, bundles):
    run = fakes.new()
    live = deploy(run, bundles["first"], SPEC)
    kill(live)
    (run / "endpoint.json").write_text("{")
    assert down(run) is None
    assert not Path(live.folder).exists()
    assert (run / "endpoint.json.damaged").read_text() == "{"
    assert look(Storage(run)) is None


def test_an_endpoint_of_another_machine_is_left_to_that_machine(fakes, bundles):
    run = fakes.new()
    kill(deploy(run, bundles["first"], SPEC))
    process = this_process().model_copy(update={"boot_id": "another boot"})
    edit(run, host="far.away", process=process)
    assert look(Storage(run)).state == "elsewhere"
    for call in (lambda: down(run), lambda: rollback(run), lambda: deploy(run, bundles["first"], SPEC)):
        with pytest.raises((InputError, UnreachableError), match=r"runs on far\.away"):
            call()
    edit(run, host=os.uname().nodename)
    assert look(Storage(run)).state == "dead", "the same machine after a reboot"
